"""What real etcds have measured, over TLS, with the client's certificate."""

import subprocess
from pathlib import Path

import pytest

from etcdplan.lab.binaries import etcd_binaries
from etcdplan.transport.etcd_metrics import measure
from tests.support import tls
from tests.support.etcd_process import EtcdCluster

pytestmark = [pytest.mark.host, pytest.mark.timeout(300)]


def write(cluster: EtcdCluster, url: str, times: int) -> None:
    """Write that often, each a commit to the log of its own."""
    assert cluster.credentials is not None
    files = {"cacert": cluster.credentials.ca_pem, "cert": cluster.credentials.certificate_pem}
    files["key"] = cluster.credentials.key.reveal()
    for name, content in files.items():
        (cluster.directory / name).write_bytes(content)
    flags = [f"--{name}={cluster.directory / name}" for name in files]
    etcdctl = etcd_binaries(cluster.version) / "etcdctl"
    for number in range(times):
        command = [etcdctl, f"--endpoints={url}", *flags, "put", f"k{number}", "v"]
        subprocess.run(command, check=True, capture_output=True, timeout=60)


@pytest.mark.parametrize("version", ["3.5.35", "3.6.16", "3.7.3"])
def test_a_real_etcd_tells_its_latencies(version: str, tmp_path: Path) -> None:
    ca = tls.authority()
    with EtcdCluster(version, 1, tmp_path, ca=ca) as cluster:
        url = cluster.processes["m1"].client_url
        first = measure(url, cluster.credentials, timeout=20).get()
        assert first is not None
        assert first.fsync is None, "it cannot have written enough yet"
        write(cluster, url, 110)
        figures = measure(url, cluster.credentials, timeout=20).get()
        assert figures is not None
        assert figures.fsync is not None and 0 < figures.fsync < 10
        assert figures.database is not None and figures.database >= 16384
        assert figures.round_trip is None
        status = cluster.processes["m1"].status()
        assert status is not None and status.db_size >= figures.database, "it may grow meanwhile"
        stranger = tls.credentials(tls.authority(), trust=ca)
        assert measure(url, stranger, timeout=20).is_unknown
        other = tls.credentials(ca, trust=tls.authority())
        said = measure(url, other, timeout=20)
        assert said.why is not None and "certificate verify failed" in said.why
