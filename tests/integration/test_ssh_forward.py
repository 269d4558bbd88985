"""Ports that a host reaches, offered here as a socket that is the controller's alone."""

import os
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from etcdplan.hosts.ports import HostUnreachable
from etcdplan.transport.quiet_grpc import grpc
from etcdplan.transport.ssh import SshHosts
from tests.support import tls
from tests.support.ssh_fixtures import hosts, runner, server
from tests.support.sshd import Runner, Sshd, free_address
from tests.unit.transport.fake_etcd import FakeEtcd

__all__ = ["hosts", "runner", "server"]
pytestmark = [pytest.mark.bed, pytest.mark.timeout(120)]


@contextmanager
def echo() -> Iterator[tuple[str, int]]:
    """Serve what is sent, back."""
    listener = socket.socket()
    listener.bind(free_address())
    listener.listen()

    def serve() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()

    def answer(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            while data := connection.recv(65536):
                connection.sendall(data)

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield listener.getsockname()
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def dial(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(20)
    try:
        connection.connect(str(path))
    except OSError:
        connection.close()
        raise
    return connection


def read(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (part := connection.recv(65536)):
        data += part
    return data


def test_many_connections_carry_bytes_as_they_are(hosts: SshHosts) -> None:
    with echo() as (host, port):
        forward = hosts.forward("h", host, port, timeout=20)

        def exchange(_: int) -> bool:
            data = os.urandom(300_000)
            with dial(forward.path) as connection:
                writer = threading.Thread(target=connection.sendall, args=(data,))
                writer.start()
                same = read(connection, len(data)) == data
                writer.join(20)
                return same

        with ThreadPoolExecutor(6) as pool:
            assert all(pool.map(exchange, range(6)))


def test_grpc_checks_the_certificate_under_the_real_address(hosts: SshHosts) -> None:
    ca = tls.authority()
    key, certificate = tls.leaf(ca, "10.9.8.7")
    pair = [(key.reveal(), certificate)]
    client = tls.credentials(ca)
    with FakeEtcd(
        credentials=grpc.ssl_server_credentials(pair, ca.certificate_pem, require_client_auth=True)
    ) as etcd:
        forward = hosts.forward("h", "127.0.0.1", etcd.port, timeout=20)

        def status(authority: str) -> None:
            credentials = grpc.ssl_channel_credentials(
                client.ca_pem, client.key.reveal(), client.certificate_pem
            )
            options = [("grpc.default_authority", authority)]
            with grpc.secure_channel(forward.target, credentials, options) as channel:
                channel.unary_unary("/etcdserverpb.Maintenance/Status")(b"", timeout=20)

        status("10.9.8.7:2379")
        with pytest.raises(grpc.RpcError, match="Hostname Verification"):
            status("10.9.8.8:2379")


def test_nobody_else_can_open_it(hosts: SshHosts) -> None:
    with echo() as (host, port):
        forward = hosts.forward("h", host, port, timeout=20)
        assert stat.S_IMODE(forward.path.parent.stat().st_mode) == 0o700
        assert forward.path.parent.stat().st_uid == os.geteuid()
        if os.geteuid() == 0:
            code = f"import socket; socket.socket(socket.AF_UNIX).connect({str(forward.path)!r})"
            other = [
                "setpriv",
                "--reuid=54321",
                "--regid=54321",
                "--clear-groups",
                sys.executable,
                "-I",
                "-c",
                code,
            ]
            done = subprocess.run(other, capture_output=True, text=True, check=False, cwd="/")
            assert "PermissionError" in done.stderr
            subprocess.run([sys.executable, "-c", code], check=True)


def test_a_port_that_is_closed(hosts: SshHosts) -> None:
    with dial(hosts.forward("h", *free_address(), timeout=20).path) as connection:
        assert connection.recv(1) == b""
    assert hosts.shell("h").run("echo fine", timeout=20).stdout == b"fine\n"


def test_close_ends_it(hosts: SshHosts) -> None:
    with echo() as (host, port):
        forward, other = (hosts.forward("h", host, port, timeout=20) for _ in range(2))
        with dial(forward.path) as one, dial(other.path) as two:
            one.sendall(b"a")
            two.sendall(b"a")
            assert one.recv(1) == two.recv(1) == b"a"
            forward.close()
            assert one.recv(1) == b""
            two.sendall(b"b")
            assert two.recv(1) == b"b"
            hosts.close()
            assert two.recv(1) == b""
        for each in (forward, other):
            assert not each.path.parent.exists()
        with pytest.raises(HostUnreachable, match="are closed"):
            hosts.forward("h", host, port, timeout=20)


def test_it_does_not_outlive_its_connection(tmp_path: Path, runner: Runner) -> None:
    server = Sshd(tmp_path / "sshd").start()
    runner.host("h", server)
    runner.trust(server.known())
    try:
        with echo() as (host, port), SshHosts(runner.settings()) as hosts:
            forward = hosts.forward("h", host, port, timeout=20)
            with dial(forward.path) as connection:
                connection.sendall(b"a")
                assert connection.recv(1) == b"a"
                for pid in server.sessions():
                    os.kill(pid, 9)
                start = time.monotonic()
                assert connection.recv(1) == b""
                assert time.monotonic() - start < 5
            # A new connection to the host does not bring the old tunnel back: whoever ended it meant it.
            assert hosts.shell("h").run("echo fine", timeout=20).stdout == b"fine\n"
            with suppress(FileNotFoundError), dial(forward.path) as connection:
                assert connection.recv(1) == b""
            with dial(hosts.forward("h", host, port, timeout=20).path) as connection:
                connection.sendall(b"b")
                assert connection.recv(1) == b"b"
    finally:
        server.stop()
