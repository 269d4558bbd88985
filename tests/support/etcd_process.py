"""Real etcd processes on loopback addresses of their own, driven through the product's client."""

import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

from etcdplan.errors import EtcdplanError
from etcdplan.lab.binaries import etcd_binaries
from etcdplan.pki.authority import Authority
from etcdplan.transport.etcd import EtcdClient, Status
from tests.support import tls


def wait_until(condition: Callable[[], bool], *, timeout: float = 20, explain: str = "") -> None:
    """Wait for a condition, at most that many seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, explain or "waited in vain"
        time.sleep(0.05)


class EtcdProcess:
    """One etcd: its files, its process, and a client of it."""

    def __init__(self, cluster: "EtcdCluster", name: str, address: str) -> None:
        self.name = name
        self.address = address
        self.peer_url = f"http://{address}:2380"
        self.client_url = f"{'https' if cluster.ca else 'http'}://{address}:2379"
        self.client = EtcdClient(self.client_url, cluster.credentials)
        self.started_at = 0.0
        self._cluster = cluster
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, initial_cluster: str = "", state: str = "new") -> None:
        """Run it; the arguments are read only by an etcd without data."""
        directory = self._cluster.directory
        flags = {
            "name": self.name,
            "data-dir": directory / self.name,
            "listen-peer-urls": self.peer_url,
            "initial-advertise-peer-urls": self.peer_url,
            "listen-client-urls": self.client_url,
            "advertise-client-urls": self.client_url,
            "initial-cluster": initial_cluster,
            "initial-cluster-state": state,
            "listen-metrics-urls": f"http://{self.address}:2381",
            **self._tls_flags(),
        }
        self.started_at = time.monotonic()
        with (directory / f"{self.name}.log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._cluster.binary, *(f"--{flag}={value}" for flag, value in flags.items())],
                env={"PATH": os.environ["PATH"]},
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def _tls_flags(self) -> dict[str, str]:
        ca, directory = self._cluster.ca, self._cluster.directory
        if ca is None:
            return {}
        key, certificate = tls.leaf(ca, self.address, "127.0.0.1")
        files = {
            "trusted-ca-file": ca.certificate_pem,
            "cert-file": certificate,
            "key-file": key.reveal(),
        }
        for flag, content in files.items():
            (directory / f"{self.name}-{flag}").write_bytes(content)
        return {flag: f"{directory}/{self.name}-{flag}" for flag in files} | {"client-cert-auth": "true"}

    def signal(self, number: signal.Signals) -> None:
        """Send its process a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def stop(self) -> None:
        """Kill it and wait until it is gone. May be repeated."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(20)
            self._process = None

    @property
    def running(self) -> bool:
        """Whether it runs; one that was removed ends by itself."""
        return self._process is not None and self._process.poll() is None

    def status(self) -> Status | None:
        """Its own status, None while it does not answer."""
        try:
            return self.client.status(timeout=2)
        except EtcdplanError:
            return None

    def serves(self) -> bool:
        """Whether it answers through quorum."""
        try:
            return self.client.linearizable_read(timeout=2) > 0
        except EtcdplanError:
            return False


class EtcdCluster:
    """A cluster of members `m1`, `m2`, …: plain HTTP between them, TLS for clients when there is a `ca`.

    Entering starts the members and returns when each serves; leaving kills what runs.
    """

    def __init__(self, version: str, size: int, directory: Path, *, ca: Authority | None = None) -> None:
        self.version = version
        self.binary = str(etcd_binaries(version) / "etcd")
        self.directory = directory
        self.ca = ca
        self.credentials = None if ca is None else tls.credentials(ca)
        self._network = _free_network()
        self._addresses = 0
        self.processes: dict[str, EtcdProcess] = {}
        for _ in range(size):
            self._newcomer()

    def __enter__(self) -> Self:
        members = list(self.processes.values())
        initial = ",".join(f"{member.name}={member.peer_url}" for member in members)
        try:
            for member in members:
                member.start(initial)
            for member in members:
                wait_until(member.serves, explain=f"{member.name}, see {self.directory}")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes.values():
            process.client.close()
            process.stop()

    def new_peer_url(self) -> str:
        """Return a peer URL that no member has had."""
        return f"http://{self._new_address()}:2380"

    def leader(self) -> EtcdProcess:
        """Return the leader, once running members agree on one that runs."""
        found: list[EtcdProcess] = []

        def agreed() -> bool:
            running = [process for process in self.processes.values() if process.running]
            statuses = [(process, status) for process in running if (status := process.status())]
            leaders = {status.leader for _, status in statuses}
            found[:] = [process for process, status in statuses if leaders == {status.member_id}]
            return bool(found)

        wait_until(agreed, explain=f"no leader, see {self.directory}")
        return found[0]

    def join(self, *, learner: bool, via: EtcdProcess) -> tuple[EtcdProcess, int]:
        """Add a member and start it; return it and its ID. It serves later."""
        newcomer = self._newcomer()
        added = via.client.member_add(newcomer.peer_url, learner=learner, timeout=15)
        members = via.client.members(timeout=15).members
        names = {member.id: member.name or newcomer.name for member in members}
        newcomer.start(
            ",".join(f"{names[member.id]}={member.peer_urls[0]}" for member in members), "existing"
        )
        return newcomer, added.id

    def _newcomer(self) -> EtcdProcess:
        name = f"m{len(self.processes) + 1}"
        self.processes[name] = EtcdProcess(self, name, self._new_address())
        return self.processes[name]

    def _new_address(self) -> str:
        self._addresses += 1
        return f"{self._network}.{self._addresses}"


def _free_network() -> str:
    while True:
        network = f"127.{random.randint(100, 199)}.{random.randint(0, 255)}"
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((f"{network}.1", 2380))
            except OSError:
                continue
            return network
