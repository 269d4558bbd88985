"""The writers' account against real etcd: what they say is acknowledged is there, and what is not is missed."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from etcdplan.hosts.processes import wait_until
from etcdplan.lab.errors import LabError
from etcdplan.lab.writers import TlsFiles, Writers
from etcdplan.pki.authority import Authority
from etcdplan.pki.keyfile import write_key
from tests.support import tls
from tests.support.etcd_process import EtcdCluster

pytestmark = pytest.mark.host


@pytest.fixture(scope="module")
def ca() -> Authority:
    return tls.authority()


@pytest.fixture
def files(tmp_path: Path, ca: Authority) -> TlsFiles:
    key, certificate = tls.leaf(ca)
    place = TlsFiles(tmp_path / "ca.crt", tmp_path / "client.crt", tmp_path / "client.key")
    place.ca.write_bytes(ca.certificate_pem)
    place.certificate.write_bytes(certificate)
    write_key(place.key, key)
    return place


@pytest.fixture
def cluster(tmp_path: Path, ca: Authority) -> Iterator[EtcdCluster]:
    with EtcdCluster("3.6.16", 3, tmp_path / "etcd", ca=ca) as cluster:
        yield cluster


@pytest.fixture(autouse=True)
def etcd_directory(tmp_path: Path) -> None:
    (tmp_path / "etcd").mkdir()


def urls(cluster: EtcdCluster) -> list[str]:
    return [process.client_url for process in cluster.processes.values()]


def test_a_calm_cluster(cluster: EtcdCluster, files: TlsFiles) -> None:
    with Writers(urls(cluster), tls=files, writers=5, pause=0.005) as writers:
        assert wait_until(lambda: writers.report().acknowledged > 1500, timeout=60)
        report = writers.stop()
    assert report.acknowledged > 1500
    assert report.failed == 0
    assert 0 < report.longest_gap < 2
    assert report.slowest < 0.5
    assert report.longest_gap <= report.duration
    assert writers.lost() == 0
    assert writers.report() == report


def test_what_is_lost_is_noticed(cluster: EtcdCluster, files: TlsFiles) -> None:
    """A key that somebody takes away, and one that somebody changes."""
    import etcd3

    with Writers(urls(cluster), tls=files, writers=2, pause=0.01) as writers:
        assert wait_until(lambda: writers.report().acknowledged > 50, timeout=60)
        writers.stop()
    place = cluster.processes["m1"].address
    client = etcd3.client(
        host=place,
        port=2379,
        ca_cert=str(files.ca),
        cert_key=str(files.key),
        cert_cert=str(files.certificate),
    )
    keys = [found.key for _, found in client.get_prefix("etcdplan-lab/")]
    assert client.delete(keys[3])
    client.put(keys[5], b"something else")
    client.close()
    assert writers.lost() == 2


def test_a_killed_leader_is_a_gap_and_no_loss(cluster: EtcdCluster, files: TlsFiles) -> None:
    with Writers(urls(cluster), tls=files, writers=6, pause=0.01) as writers:
        assert wait_until(lambda: writers.report().acknowledged > 100, timeout=60)
        before = writers.report()
        leader = cluster.leader()
        leader.stop()
        assert wait_until(lambda: writers.report().acknowledged > before.acknowledged + 500, timeout=60)
        report = writers.stop()
    assert report.failed > 0
    assert 0.3 < report.longest_gap < 10
    assert writers.lost() == 0, "unknown results are not counted as acknowledged"


def test_a_cluster_without_quorum_acknowledges_nothing(cluster: EtcdCluster, files: TlsFiles) -> None:
    with Writers(urls(cluster), tls=files, writers=4, pause=0.01) as writers:
        assert wait_until(lambda: writers.report().acknowledged > 20, timeout=60)
        for name in ("m1", "m2"):
            cluster.processes[name].signal(signal.SIGSTOP)
        # What was under way may still be answered.
        assert wait_until(lambda: writers.report().failed > 4, timeout=60)
        count = writers.report().acknowledged
        assert wait_until(lambda: writers.report().longest_gap > 2, timeout=60)
        report = writers.stop()
    assert report.acknowledged == count
    assert report.longest_gap > 2, "also the gap that did not end"
    assert report.slowest >= 0.5
    for name in ("m1", "m2"):
        cluster.processes[name].signal(signal.SIGCONT)
    assert wait_until(cluster.processes["m3"].serves, timeout=30)
    assert writers.lost() == 0


def test_nobody_to_read_from_is_an_error_and_not_a_loss(cluster: EtcdCluster, files: TlsFiles) -> None:
    with Writers(urls(cluster)[:1], tls=files, writers=1) as writers:
        assert wait_until(lambda: writers.report().acknowledged > 0, timeout=60)
    for process in cluster.processes.values():
        process.stop()
    with pytest.raises(LabError, match="lets its keys be read"):
        writers.lost()
