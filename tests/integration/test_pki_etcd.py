"""Real etcd takes this library's certificates, and only those of the right CA."""

import http.client
import json
import os
import random
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from etcdplan.lab.binaries import etcd_binaries
from etcdplan.pki.authority import Authority, LeafRequest, create_authority, subject_alt_names
from etcdplan.pki.keyfile import write_key
from etcdplan.pki.leaf import new_key_and_csr

NOW = datetime.now(UTC)


@dataclass(frozen=True)
class Cluster:
    binaries: Path
    directory: Path
    addresses: tuple[str, ...]

    def etcdctl(self, *arguments: str, pair: str | None) -> subprocess.CompletedProcess[str]:
        """Run etcdctl on all members with a key pair of the cluster's directory, or with none."""
        pki = self.directory
        identity = [f"--cert={pki / pair}.crt", f"--key={pki / pair}.key"] if pair else []
        endpoints = ",".join(f"https://{address}:2379" for address in self.addresses)
        return subprocess.run(
            [
                *(
                    str(self.binaries / "etcdctl"),
                    f"--endpoints={endpoints}",
                    f"--cacert={pki / 'ca.crt'}",
                    *identity,
                ),
                *("--command-timeout=3s", "--dial-timeout=3s", *arguments),
            ],
            env={"PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def logs(self) -> str:
        return "".join(path.read_text() for path in self.directory.glob("*.log"))

    def last_words(self) -> str:
        return "\n".join(path.read_text()[-1000:] for path in self.directory.glob("*.log"))


def issue(directory: Path, authority: Authority, pair: str, *hosts: str, server: bool) -> None:
    dns_names, ip_addresses = subject_alt_names(hosts)
    key, csr = new_key_and_csr()
    write_key(directory / f"{pair}.key", key)
    leaf = LeafRequest(pair, dns_names, ip_addresses, server=server, client=True)
    (directory / f"{pair}.crt").write_bytes(authority.sign(csr, leaf, now=NOW, days=1))


def free_addresses() -> tuple[str, ...]:
    """Three loopback addresses on which etcd's usual ports are free."""
    for block in random.sample(range(256), 256):
        addresses = tuple(f"127.91.{block}.{member}" for member in (1, 2, 3))
        try:
            for address in addresses:
                for port in (2379, 2380):
                    with socket.socket() as probe:
                        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                        probe.bind((address, port))
        except OSError:
            continue
        return addresses
    raise AssertionError("no free block in 127.91.0.0/16")


def wait_until(condition: Callable[[], bool], *, seconds: float, explain: Callable[[], str]) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, explain()
        time.sleep(0.1)


def start(
    binaries: Path, directory: Path, name: str, address: str, initial_cluster: str
) -> subprocess.Popen[bytes]:
    peer, client = f"https://{address}:2380", f"https://{address}:2379"
    ca = directory / "ca.crt"
    with (directory / f"{name}.log").open("wb") as log:
        return subprocess.Popen(
            [
                *(str(binaries / "etcd"), f"--name={name}", f"--data-dir={directory / name}"),
                *(f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}"),
                *(f"--listen-client-urls={client}", f"--advertise-client-urls={client}"),
                *(f"--initial-cluster={initial_cluster}", "--initial-cluster-state=new"),
                *(f"--cert-file={directory / name}-server.crt", f"--key-file={directory / name}-server.key"),
                *(f"--trusted-ca-file={ca}", "--client-cert-auth"),
                f"--peer-cert-file={directory / name}-peer.crt",
                f"--peer-key-file={directory / name}-peer.key",
                *(f"--peer-trusted-ca-file={ca}", "--peer-client-cert-auth"),
            ],
            env={"PATH": os.environ["PATH"]},
            stdout=log,
            stderr=subprocess.STDOUT,
        )


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    binaries = etcd_binaries("3.6.16")
    directory = tmp_path_factory.mktemp("pki")
    authority = create_authority("etcd-ca", now=NOW)
    (directory / "ca.crt").write_bytes(authority.certificate_pem)
    members = dict(zip(("member1", "member2", "member3"), free_addresses(), strict=True))
    for name, address in members.items():
        # A connection to any loopback address comes from 127.0.0.1, which etcd looks for in the peer's SANs.
        for use in ("server", "peer"):
            issue(directory, authority, f"{name}-{use}", name, address, "localhost", "127.0.0.1", server=True)
    issue(directory, authority, "client", server=False)
    issue(directory, create_authority("etcd-ca", now=NOW), "stranger", server=False)
    initial_cluster = ",".join(f"{name}=https://{address}:2380" for name, address in members.items())
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for name, address in members.items():
            processes.append(start(binaries, directory, name, address, initial_cluster))
        yield Cluster(binaries, directory, tuple(members.values()))
    finally:
        for process in processes:
            process.kill()
            process.wait(timeout=30)


@pytest.fixture(scope="module")
def healthy(cluster: Cluster) -> Cluster:
    wait_until(
        lambda: cluster.etcdctl("endpoint", "health", pair="client").returncode == 0,
        seconds=60,
        explain=cluster.last_words,
    )
    return cluster


@pytest.mark.host
def test_the_cluster_serves_a_client_of_its_ca(healthy: Cluster) -> None:
    assert healthy.etcdctl("put", "k", "v", pair="client").returncode == 0
    assert healthy.etcdctl("get", "k", "--print-value-only", pair="client").stdout == "v\n"
    status = json.loads(healthy.etcdctl("endpoint", "status", "-w", "json", pair="client").stdout)
    assert len(status) == 3
    assert len({member["Status"]["leader"] for member in status}) == 1


@pytest.mark.host
def test_the_gateway_works(healthy: Cluster) -> None:
    """The member dials itself with its server certificate, which therefore needs clientAuth too."""
    context = ssl.create_default_context(cafile=str(healthy.directory / "ca.crt"))
    context.load_cert_chain(healthy.directory / "client.crt", healthy.directory / "client.key")
    for address in healthy.addresses:
        connection = http.client.HTTPSConnection(address, 2379, context=context, timeout=10)
        connection.request("POST", "/v3/kv/range", body=json.dumps({"key": "aw=="}))
        assert connection.getresponse().status == 200
        connection.close()


@pytest.mark.host
@pytest.mark.parametrize(
    ("pair", "reason"),
    [
        (None, "client didn't provide a certificate"),
        ("stranger", "certificate signed by unknown authority"),
    ],
)
def test_a_client_without_a_certificate_of_its_ca_is_rejected(
    healthy: Cluster, pair: str | None, reason: str
) -> None:
    assert healthy.etcdctl("get", "k", pair=pair).returncode != 0
    wait_until(lambda: reason in healthy.logs(), seconds=10, explain=healthy.last_words)
    assert healthy.etcdctl("get", "k", pair="client").returncode == 0


@pytest.mark.host
def test_no_member_rejected_a_peer(healthy: Cluster) -> None:
    """A cluster turns healthy on one good direction of each pair, so health alone proves no certificate."""
    entries = [json.loads(line) for line in healthy.logs().splitlines() if line.startswith("{")]
    assert entries
    rejected = [entry for entry in entries if "rejected connection on peer" in entry["msg"]]
    assert [entry for entry in rejected if entry.get("error") != "EOF"] == []
    assert "incompatible key usage" not in healthy.logs()
