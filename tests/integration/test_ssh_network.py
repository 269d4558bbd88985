"""Servers that do not answer, or answer with malice: every wait ends at its deadline, and memory stays small."""

import os
import resource
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from etcdplan.hosts.ports import HostUnreachable
from etcdplan.transport.ssh import SshHosts
from tests.support.sshd import Runner, Sshd, free_address

pytestmark = [pytest.mark.bed, pytest.mark.timeout(60)]


@contextmanager
def fake(
    serve: Callable[[socket.socket, threading.Event], None], where: tuple[str, int] | None = None
) -> Iterator[tuple[str, int]]:
    """Listen, and give each connection to `serve`, which ends when the event is set."""
    done, listener = threading.Event(), socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(where or free_address())
    listener.listen()

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=serving, args=(connection,), daemon=True).start()

    def serving(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            serve(connection, done)

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()
    finally:
        done.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def unreachable(tmp_path: Path, where: tuple[str, int], *, timeout: float, match: str) -> float:
    """Try to run something there, and return how long it took until it was given up."""
    runner = Runner(tmp_path / "runner")
    runner.config = (
        f"Host h\n HostName {where[0]}\n Port {where[1]}\n UserKnownHostsFile {runner.known_hosts}\n"
    )
    start = time.monotonic()
    with SshHosts(runner.settings()) as hosts, pytest.raises(HostUnreachable, match=match):
        hosts.shell("h").run("true", timeout=timeout)
    return time.monotonic() - start


def _byte_a_second(connection: socket.socket, done: threading.Event) -> None:
    for byte in b"SSH-2.0-OpenSSH_9.2p1 and so on and on and on and on\r\n":
        connection.sendall(bytes([byte]))
        if done.wait(1):
            return


def _lines(connection: socket.socket, done: threading.Event) -> None:
    while not done.wait(0.5):
        connection.sendall(b"Welcome to this host\r\n")


def _silent(connection: socket.socket, done: threading.Event) -> None:
    done.wait(60)


def _silent_after_the_banner(connection: socket.socket, done: threading.Event) -> None:
    connection.sendall(b"SSH-2.0-OpenSSH_9.2p1\r\n")
    done.wait(60)


def _trickling_packet(connection: socket.socket, done: threading.Event) -> None:
    connection.sendall(b"SSH-2.0-OpenSSH_9.2p1\r\n" + struct.pack(">IB", 2004, 8) + b"\x14")
    while not done.wait(0.5):
        connection.sendall(b"\0")


@pytest.mark.parametrize(
    "serve", [_byte_a_second, _lines, _silent, _silent_after_the_banner, _trickling_packet]
)
def test_a_server_that_takes_its_time(
    tmp_path: Path, serve: Callable[[socket.socket, threading.Event], None]
) -> None:
    with fake(serve) as where:
        assert 1.9 < unreachable(tmp_path, where, timeout=2, match="in time") < 3


@contextmanager
def dropping(where: tuple[str, int]) -> Iterator[None]:
    """Let the kernel drop what wants to connect there."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(where)
        listener.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:  # the queue is full then
            one.setblocking(False)
            one.connect_ex(where)
        yield
        for one in waiting:
            one.close()


def test_packets_that_are_dropped(tmp_path: Path) -> None:
    with dropping(where := free_address()):
        assert 0.9 < unreachable(tmp_path, where, timeout=1, match="cannot be connected to.*in time") < 2


def seconds_silent(hosts: SshHosts, *, timeout: float) -> float:
    """Return how long it takes to find that the host is not reached."""
    start = time.monotonic()
    with pytest.raises(HostUnreachable, match="in time"):
        hosts.shell("h").run("true", timeout=timeout)
    return time.monotonic() - start


def test_who_was_silent_delays_nobody_a_second_time_and_is_seen_when_it_is_back(tmp_path: Path) -> None:
    server, runner = Sshd(tmp_path / "sshd"), Runner(tmp_path / "runner")
    where = (server.address, server.port)
    runner.host("h", server, more=" ConnectTimeout 2\n")
    runner.trust(server.known())
    with SshHosts(runner.settings()) as hosts:
        with dropping(where):
            # A short look gives nobody up.
            assert seconds_silent(hosts, timeout=1) > 0.9
            assert seconds_silent(hosts, timeout=5) > 1.9
            for _ in range(6):
                assert seconds_silent(hosts, timeout=5) < 1.5
        # One that answers has all the time again.
        with fake(_silent, where):
            deadline = time.monotonic() + 10
            while seconds_silent(hosts, timeout=1.8) < 1.7:
                assert time.monotonic() < deadline
        try:
            server.start()
            deadline = time.monotonic() + 20
            while True:
                try:
                    assert hosts.shell("h").run("echo fine", timeout=5).stdout == b"fine\n"
                    break
                except HostUnreachable:
                    assert time.monotonic() < deadline
        finally:
            server.stop()


def test_the_time_to_connect_is_bounded_by_itself(tmp_path: Path) -> None:
    with fake(_silent) as where:
        runner = Runner(tmp_path / "runner")
        runner.config = f"Host h\n HostName {where[0]}\n Port {where[1]}\n ConnectTimeout 1\n"
        start = time.monotonic()
        with SshHosts(runner.settings()) as hosts, pytest.raises(HostUnreachable):
            hosts.shell("h").run("true", timeout=30)
        assert time.monotonic() - start < 2


def _banner_without_end(connection: socket.socket, done: threading.Event) -> None:
    while not done.is_set():
        connection.sendall(b"x" * 65536)


def _lines_without_end(connection: socket.socket, done: threading.Event) -> None:
    while not done.is_set():
        connection.sendall(b"x" * 65535 + b"\n")


def _packet_of_gigabytes(connection: socket.socket, done: threading.Event) -> None:
    connection.sendall(b"SSH-2.0-OpenSSH_9.2p1\r\n" + struct.pack(">IB", (1 << 31) + 4, 8))
    while not done.is_set():
        connection.sendall(b"x" * 65536)


@pytest.mark.parametrize("serve", [_banner_without_end, _lines_without_end, _packet_of_gigabytes])
def test_a_server_that_floods(
    tmp_path: Path, serve: Callable[[socket.socket, threading.Event], None]
) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with fake(serve) as where:
        assert unreachable(tmp_path, where, timeout=20, match="does not begin as SSH|too large") < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


def test_nobody_there(tmp_path: Path) -> None:
    assert unreachable(tmp_path, free_address(), timeout=20, match="refused") < 2


def test_a_server_that_hangs_up(tmp_path: Path) -> None:
    with fake(lambda connection, done: None) as where:
        assert unreachable(tmp_path, where, timeout=20, match="does not agree to an SSH connection") < 5


def test_a_name_that_nobody_has(tmp_path: Path) -> None:
    where = ("no-such-host.invalid", 22)
    assert unreachable(tmp_path, where, timeout=3, match="looked up|in time") < 4


def test_a_server_that_freezes_between_two_scripts(tmp_path: Path) -> None:
    server, runner = Sshd(tmp_path / "sshd").start(), Runner(tmp_path / "runner")
    try:
        runner.host("h", server)
        runner.trust(server.known())
        with SshHosts(runner.settings()) as hosts:
            hosts.shell("h").run("true", timeout=20)
            for pid in server.sessions():
                os.kill(pid, signal.SIGSTOP)
            start = time.monotonic()
            with pytest.raises(HostUnreachable):
                hosts.shell("h").run("true", timeout=1)
            # The connection was given up, so the next script gets a new one.
            assert hosts.shell("h").run("echo fine", timeout=20).stdout == b"fine\n"
        assert time.monotonic() - start < 5
    finally:
        server.stop()
