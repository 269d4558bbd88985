"""A port that a host reaches, offered on this machine as a unix socket that nobody else can open."""

import select
import shutil
import socket
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

from etcdplan.errors import EtcdplanError
from etcdplan.transport.ssh_connection import Connection
from etcdplan.transport.ssh_paramiko import paramiko

_CHUNK = 1 << 15
_OPEN_TIMEOUT = 5.0
_STUCK = 30.0
"""Seconds after which a side that takes nothing in is given up."""


class Forward:
    """Carries connections to `path` through an SSH connection to `host`:`port`, as that machine reaches it.

    Ends with `close`; when the SSH connection ends, those that it carries end, and new ones are closed at once.
    """

    def __init__(self, connection: Connection, host: str, port: int) -> None:
        self.connection = connection
        self._to = (host, port)
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._closed = False
        self._directory = Path(tempfile.mkdtemp(prefix="etcdplan-"))  # mode 0700
        self.path = self._directory / "s"
        self._listener = socket.socket(socket.AF_UNIX)
        try:
            self._listener.bind(str(self.path))
            self._listener.listen()
        except OSError as error:
            self.close()
            raise EtcdplanError(
                f"There is no place for a socket in {self._directory}: {error}.",
                hint="Set TMPDIR to a shorter path.",
            ) from error
        threading.Thread(target=self._accept, name=f"forward to {host}:{port}", daemon=True).start()

    @property
    def target(self) -> str:
        """How gRPC names the socket."""
        return f"unix:{self.path}"

    def dial(self, timeout: float) -> socket.socket:
        """Return a connection through it; raise `OSError`. Every wait on it takes `timeout` seconds at most."""
        near = socket.socket(socket.AF_UNIX)
        near.settimeout(timeout)
        try:
            near.connect(str(self.path))
        except OSError:
            near.close()
            raise
        return near

    def close(self) -> None:
        """Stop listening and end what is carried. May be repeated."""
        with self._lock:
            self._closed, sockets = True, [self._listener, *self._sockets]
        for each in sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            near.settimeout(_STUCK)
            with self._lock:
                if self._closed:
                    near.close()
                    return
                self._sockets.add(near)
            threading.Thread(target=self._carry, args=(near,), daemon=True).start()

    def _carry(self, near: socket.socket) -> None:
        try:
            with near, suppress(EtcdplanError, OSError, EOFError):
                far = self.connection.open_channel("direct-tcpip", time.monotonic() + _OPEN_TIMEOUT, self._to)
                far.settimeout(_STUCK)
                back = threading.Thread(target=_pump_back, args=(far, near), daemon=True)
                back.start()
                try:
                    _pump_out(near, far)
                    back.join(_STUCK)
                finally:
                    far.close()
        finally:
            with self._lock:
                self._sockets.discard(near)


def _pump_out(near: socket.socket, far: paramiko.Channel) -> None:
    """Carry what the near side says until one of the sides ends."""
    poll = select.poll()
    poll.register(near, select.POLLIN)
    while poll.poll() and (data := near.recv(_CHUNK)):
        far.sendall(data)
    far.shutdown_write()


def _pump_back(far: paramiko.Channel, near: socket.socket) -> None:
    """Carry what the far side says; then wake the other direction."""
    with suppress(OSError, EOFError):
        poll = select.poll()
        poll.register(far.fileno(), select.POLLIN)
        while poll.poll() and (data := far.recv(_CHUNK)):
            near.sendall(data)
    with suppress(OSError):
        near.shutdown(socket.SHUT_RDWR)
