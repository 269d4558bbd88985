"""Backups on a server that offers SFTP, and perhaps nothing else: no shell is needed there.

Over our own SSH connection, whose host keys are strict; fsspec's SFTP adds unknown ones (decision 0015).
"""

import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final
from urllib.parse import urlsplit

from etcdplan.backup.destination import Destination, Readable, Upload
from etcdplan.backup.directory import DEAD, unfinished
from etcdplan.backup.errors import DestinationError
from etcdplan.errors import EtcdplanError
from etcdplan.transport.sftp import Reading, Sftp, Writing
from etcdplan.transport.ssh import SshHosts
from etcdplan.transport.ssh_config import SshSettings

STALL: Final = 60.0
"""Seconds that one answer may take."""
_CONNECT: Final = 30.0


class SftpStore(Destination):
    """`sftp://[user@]host[:port]/path`: files get a temporary name, and their own when all of them is on disk."""

    def __init__(self, url: str, settings: SshSettings) -> None:
        """Take a URL and the runner's settings; nothing is connected yet."""
        parts = urlsplit(url)
        self._url, self._path = url.rstrip("/"), parts.path.rstrip("/")
        self._host = parts.hostname or ""
        self._hosts = SshHosts(settings, user=parts.username, port=parts.port)
        self._sftp: Sftp | None = None
        weakref.finalize(self, self._hosts.close)

    def __str__(self) -> str:
        return self._url

    def sizes(self) -> dict[str, int | None]:
        with self.plainly("listed"):
            session = self.session()
            if session.attributes(self._path) is None:
                return {}
            return {name: one.size for name, one in session.names(self._path) if not name.startswith(".")}

    @contextmanager
    def reader(self, name: str) -> Iterator[Readable]:
        what = f"asked for {name}"
        with self.plainly(what):
            file = self.session().reading(f"{self._path}/{name}")
        try:
            yield _Reader(self, what, file)
        finally:
            file.close()

    def upload(self, name: str) -> Upload:
        what, temporary = f"given {name}", f"{self._path}/.{name}.part"
        with self.plainly(what):
            session = self.session()
            self._make(session, self._path)
            return _Upload(
                self, what, session, session.writing(temporary), (temporary, f"{self._path}/{name}")
            )

    def delete(self, name: str) -> None:
        with self.plainly(f"rid of {name}"):
            self.session().remove(f"{self._path}/{name}")

    def left_over(self) -> frozenset[str]:
        with self.plainly("listed"):
            return frozenset(name.removeprefix(".") for name in self._dead(self.session()))

    def remove_left_over(self) -> None:
        with self.plainly("rid of what dead runs left"):
            session = self.session()
            for name in self._dead(session):
                session.remove(f"{self._path}/{name}")

    def session(self) -> Sftp:
        """Return the session, a new one when the connection of the last has ended."""
        connection = self._hosts.connection(self._host, time.monotonic() + _CONNECT)
        if self._sftp is None or not self._sftp.open_on(connection):
            self._sftp = Sftp(connection, stall=STALL)
        return self._sftp

    @contextmanager
    def plainly(self, what: str) -> Iterator[None]:
        """Raise `DestinationError` for what SSH or the server says."""
        try:
            yield
        except DestinationError:
            raise
        except EtcdplanError as error:
            reason = (
                f"{error.message[:1].lower()}{error.message[1:]}"
                if error.message[:3] == "It "
                else error.message
            )
            raise DestinationError(
                f"{self} could not be {what}: {reason}",
                hint=error.hint or "Check the directory there, its room, and what that user may do.",
            ) from None

    def _dead(self, session: Sftp) -> list[str]:
        if session.attributes(self._path) is None:
            return []
        before = time.time() - DEAD
        return [
            name
            for name, one in session.names(self._path)
            if unfinished(name) and one.changed is not None and one.changed < before
        ]

    def _make(self, session: Sftp, path: str) -> None:
        if path and session.attributes(path) is None:
            self._make(session, path.rpartition("/")[0])
            session.make_directory(path)


class _Reader:
    def __init__(self, store: SftpStore, what: str, file: Reading) -> None:
        self._store, self._what, self._file = store, what, file

    def read(self, size: int, /) -> bytes:
        with self._store.plainly(self._what):
            return self._file.read(size)


class _Upload(Upload):
    def __init__(
        self, store: SftpStore, what: str, session: Sftp, file: Writing, names: tuple[str, str]
    ) -> None:
        super().__init__()
        self._store, self._what, self._session, self._file = store, what, session, file
        self._temporary, self._name = names

    def _add(self, data: bytes) -> None:
        with self._store.plainly(self._what):
            self._file.write(data)

    def _commit(self) -> None:
        with self._store.plainly(self._what):
            self._file.finish()
            if self._session.attributes(self._name) is not None:
                raise DestinationError(f"{self._store} could not be {self._what}: there is one already.")
            self._session.rename(self._temporary, self._name)

    def give_up(self) -> None:
        with suppress(EtcdplanError):
            self._file.close()
            # In a new session when this one has broken off: the file is still there.
            self._store.session().remove(self._temporary)
