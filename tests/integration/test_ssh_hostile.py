"""A host that logs us in and then breaks the protocol."""

import resource
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from etcdplan.hosts.ports import HostOutcomeUnknown
from etcdplan.transport.ssh import SshHosts
from etcdplan.transport.ssh_paramiko import paramiko
from tests.support.sshd import Runner, free_address, make_key, public

pytestmark = [pytest.mark.bed, pytest.mark.timeout(60)]


class _Hostile(paramiko.ServerInterface):  # type: ignore[misc]
    """Lets everybody in, and answers to a command never, or with output that nobody asked for, maybe before it."""

    def __init__(self, silent: threading.Event | None, *, at_once: bool) -> None:
        self._silent, self._at_once = silent, at_once

    def check_auth_publickey(self, username: str, key: object) -> int:
        return int(paramiko.AUTH_SUCCESSFUL)

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return int(paramiko.OPEN_SUCCEEDED)

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        if self._silent:
            return not self._silent.wait(30)
        if self._at_once:
            self._flood(channel)
        threading.Thread(target=self._flood, args=(channel,), daemon=True).start()
        return True

    def _flood(self, channel: paramiko.Channel) -> None:
        with suppress(OSError, EOFError, paramiko.SSHException):
            while True:
                channel.out_window_size = 1 << 30
                message = paramiko.Message()
                message.add_byte(b"\x5e")  # data of the channel, whatever its state
                message.add_int(channel.remote_chanid)
                message.add_string(b"x" * 30_000)
                channel.transport._send_user_message(message)


@contextmanager
def hostile(
    key: Path, silent: threading.Event | None = None, *, at_once: bool = False
) -> Iterator[tuple[str, int]]:
    listener = socket.socket()
    listener.bind(free_address())
    listener.listen()
    transports = []

    def serve() -> None:
        with suppress(OSError):
            while True:
                transport = paramiko.Transport(listener.accept()[0])
                transport.add_server_key(paramiko.PKey.from_path(str(key)))
                transports.append(transport)
                transport.start_server(threading.Event(), _Hostile(silent, at_once=at_once))

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield listener.getsockname()
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for transport in transports:
            transport.close()


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    return Runner(tmp_path / "runner")


@contextmanager
def reached(
    tmp_path: Path, runner: Runner, silent: threading.Event | None = None, *, at_once: bool = False
) -> Iterator[SshHosts]:
    """Give the hosts of a controller that knows the server, as `h`."""
    key, user = make_key(tmp_path / "key"), make_key(tmp_path / "user")
    with hostile(key, silent, at_once=at_once) as (address, port):
        runner.config = (
            f"Host h\n HostName {address}\n Port {port}\n User root\n IdentityFile {user}\n"
            f" UserKnownHostsFile {runner.known_hosts}\n"
        )
        runner.trust(f"[{address}]:{port} {public(key)}\n")
        with SshHosts(runner.settings()) as hosts:
            yield hosts


@pytest.mark.parametrize("at_once", [True, False])
def test_output_beyond_the_window_ends_the_connection(tmp_path: Path, runner: Runner, at_once: bool) -> None:
    """Whether it comes before the answer to the request, which ends the connection at once, or later."""
    with reached(tmp_path, runner, at_once=at_once) as hosts:
        connection = hosts.connection("h", time.monotonic() + 20)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with pytest.raises(HostOutcomeUnknown, match="was cut off"):
            hosts.shell("h").run("true", timeout=20)
        assert not connection.alive, "it would go on sending to the session that was closed"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 60_000


def test_a_request_that_is_never_answered(tmp_path: Path, runner: Runner) -> None:
    over = threading.Event()
    with reached(tmp_path, runner, over) as hosts:
        hosts.connection("h", time.monotonic() + 20)
        start = time.monotonic()
        with pytest.raises(HostOutcomeUnknown, match="in time"):
            hosts.shell("h").run("true", timeout=1)
        assert time.monotonic() - start < 2
        over.set()
