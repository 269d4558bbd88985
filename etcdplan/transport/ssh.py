"""Hosts reached over SSH: one connection a host, opened when it is first needed, shared by all threads."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Self

from etcdplan.hosts.ports import HostUnreachable
from etcdplan.hosts.remote.reader import Reader
from etcdplan.hosts.shell import DEFAULT_LIMIT, Completed, Stream
from etcdplan.pki.secret import Secret
from etcdplan.transport.ssh_command import read_password, run_script
from etcdplan.transport.ssh_config import Destination, SshConfigError, SshSettings
from etcdplan.transport.ssh_connection import Connection, left
from etcdplan.transport.ssh_forward import Forward

_MAX_HOPS = 8
_SECOND_CHANCE = 0.5
"""Seconds that who needs a connection waits for a host that was silent before to answer at all."""


class SshHosts:
    """Makes the shells of hosts, and holds their connections until `close`.

    `settings` are the runner's. `user` and `port`, which a spec may name, outweigh the SSH configuration. Where a host
    has `reader`, that is run for what it answers, so that the user needs no other right to read.
    """

    def __init__(
        self,
        settings: SshSettings,
        *,
        user: str | None = None,
        port: int | None = None,
        reader: Reader | None = None,
    ) -> None:
        """Raise `EtcdplanError` for a file with sudo's password that cannot be used."""
        self._settings, self._user, self._port = settings, user, port
        self.reader = reader
        file = settings.sudo_password_file
        self.sudo_password: Secret | None = read_password(file) if file else None
        self._lock = threading.Lock()
        self._links: dict[Destination, _Link] = {}
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def shell(self, address: str) -> "SshShell":
        """Return the shell of the host with that address or name; nothing is connected or raised yet."""
        return SshShell(self, address)

    def reader_for(self, script: str, arguments: tuple[str, ...]) -> tuple[str, str] | None:
        """Return path and SHA-256 of what a host may have in the place of a script; None when there is nothing."""
        reader = self.reader
        return (reader.path, reader.sha256) if reader and reader.answers(script, arguments) else None

    def connection(self, address: str, deadline: float) -> Connection:
        """Return the connection to a host, and make it if there is none; raise `HostUnreachable`, `SshConfigError`."""
        destination = self._settings.destination(address, user=self._user, port=self._port)
        try:
            return self._connect(destination, deadline, ())
        except TimeoutError as error:
            raise HostUnreachable(f"{address} does not answer over SSH in time.") from error

    def close(self) -> None:
        """End all connections and what goes through them. May be repeated; nothing can be connected afterwards."""
        with self._lock:
            self._closed = True
            links = list(self._links.values())
        for link in links:
            link.close()

    def _connect(
        self, destination: Destination, deadline: float, on_the_way: tuple[Destination, ...]
    ) -> Connection:
        if destination in on_the_way or len(on_the_way) > _MAX_HOPS:
            raise SshConfigError(
                f"ProxyJump goes in a circle, or over too many hosts, for {on_the_way[0].name}."
            )
        with self._lock:
            link = self._links.setdefault(destination, _Link())
        if (silence := link.silence) is None:
            return self._connected(link, destination, deadline, on_the_way)

        def again() -> Connection:
            limit = time.monotonic() + destination.connect_timeout
            return self._connected(link, destination, limit, on_the_way)

        # It is tried all the same, with all the time that there is, but nobody waits for that unless the host answers.
        attempt = link.attempt(again)
        if not link.answered.wait(min(left(deadline), _SECOND_CHANCE)):
            raise silence
        return attempt.result(left(deadline))

    def _connected(
        self,
        link: "_Link",
        destination: Destination,
        deadline: float,
        on_the_way: tuple[Destination, ...],
    ) -> Connection:
        asked = time.monotonic()
        with link.locked(deadline):
            if self._closed:
                raise HostUnreachable(
                    f"{destination.name} is not connected to any more: all connections are closed."
                )
            if link.connection and link.connection.alive:
                return link.connection
            if link.failure and link.failed > asked:
                raise link.failure
            link.close()
            link.failure, began = None, time.monotonic()
            limit = min(deadline, began + destination.connect_timeout)
            link.answered.clear()
            try:
                way = self._way(destination, limit, on_the_way)
                link.connection = Connection(destination, limit, way, answered=link.answered.set)
            except HostUnreachable as error:
                # Those who waited meanwhile need not wait again, unless this one was only in a hurry.
                if limit - began >= destination.dial_timeout:
                    link.failure, link.failed = error, time.monotonic()
                    link.silence = None if link.answered.is_set() else error
                raise
            link.silence = None
            if self._closed:  # meanwhile
                link.close()
            return link.connection

    def _way(
        self, destination: Destination, deadline: float, on_the_way: tuple[Destination, ...]
    ) -> Connection | None:
        """Return the connection that the one to `destination` goes through."""
        if not destination.jump:
            return None
        *before, last = destination.jump
        hop = self._settings.hop(last)
        if before:
            hop = replace(hop, jump=tuple(before))
        return self._connect(hop, deadline, (*on_the_way, destination))

    def forward(self, address: str, host: str, port: int, *, timeout: float) -> Forward:
        """Offer `host`:`port`, as the host at `address` reaches it, as a socket that ends with that host's connection.

        Nothing is connected to it yet. Raise what `connection` does.
        """
        connection = self.connection(address, time.monotonic() + timeout)
        forward = Forward(connection, host, port)
        connection.at_end(forward.close)
        return forward


@dataclass(frozen=True, slots=True)
class SshShell:
    """Implements `Shell`; also raises `SshConfigError` for a runner's configuration that cannot be used."""

    hosts: SshHosts
    address: str

    def run(
        self,
        script: str,
        *arguments: str,
        stdin: bytes | Stream = b"",
        timeout: float,
        limit: int = DEFAULT_LIMIT,
    ) -> Completed:
        """Run a script as root on the host, as `Shell` says."""
        deadline = time.monotonic() + timeout
        connection = self.hosts.connection(self.address, deadline)
        try:
            return self._run(connection, script, arguments, stdin, deadline, limit)
        except HostUnreachable:
            if connection.alive:
                raise
        # It ended before anything was run on it: as when another thread's deadline passed, which ends it for all.
        connection = self.hosts.connection(self.address, deadline)
        return self._run(connection, script, arguments, stdin, deadline, limit)

    def _run(
        self,
        connection: Connection,
        script: str,
        arguments: tuple[str, ...],
        stdin: bytes | Stream,
        deadline: float,
        limit: int,
    ) -> Completed:
        try:
            with connection.sessions.one(deadline):
                return run_script(
                    connection,
                    script,
                    arguments,
                    stdin=stdin,
                    deadline=deadline,
                    limit=limit,
                    sudo_password=self.hosts.sudo_password,
                    reader=self.hosts.reader_for(script, arguments),
                )
        except TimeoutError as error:
            raise HostUnreachable(f"{self.address} does not answer over SSH in time.") from error


class _Link:
    """The connection to one destination, and who may make it.

    `silence` is why it was given up, while the last one who had the time to wait for an answer got none; then attempts
    go on in a thread of their own. `answered` is set when the host answers to the attempt under way, or that has ended.
    """

    def __init__(self) -> None:
        self.connection: Connection | None = None
        self.failure: HostUnreachable | None = None
        self.failed = 0.0
        self.silence: HostUnreachable | None = None
        self.answered = threading.Event()
        self._lock = threading.Lock()
        self._starts = threading.Lock()
        self._attempt: Future[Connection] | None = None

    def attempt(self, connect: Callable[[], Connection]) -> "Future[Connection]":
        """Return the attempt that is under way beside those who need the connection; begin one if there is none."""
        with self._starts:
            if self._attempt is None or self._attempt.done():
                self.answered.clear()
                self._attempt = _beside(connect)
                self._attempt.add_done_callback(lambda _: self.answered.set())
            return self._attempt

    @contextmanager
    def locked(self, deadline: float) -> Iterator[None]:
        """Be the only one who connects; raise `TimeoutError`."""
        if not self._lock.acquire(timeout=left(deadline)):
            raise TimeoutError
        try:
            yield
        finally:
            self._lock.release()

    def close(self) -> None:
        """End the connection if there is one."""
        if self.connection:
            self.connection.close()


def _beside(connect: Callable[[], Connection]) -> "Future[Connection]":
    future: Future[Connection] = Future()

    def run() -> None:
        try:
            future.set_result(connect())
        except BaseException as error:  # noqa: BLE001 - whoever waits for it raises it
            future.set_exception(error)

    threading.Thread(target=run, name="second chance", daemon=True).start()
    return future
