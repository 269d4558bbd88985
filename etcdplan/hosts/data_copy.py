"""Reading what an etcd has on its disk: how far its log goes, and a copy of all of it when it does not run."""

import fcntl
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from etcdplan.hosts.data_dir import segments
from etcdplan.hosts.ports import HostRefused

DATABASE: Final = "snap/db"
PIECE: Final = 8 << 20
"""Bytes that are read at once."""
_FILE = re.compile(r"[0-9a-z][0-9a-z.-]*")


class StoppedData(Protocol):
    """The files of an etcd that does not run. `files` are their sizes, by name below `member`."""

    @property
    def files(self) -> Mapping[str, int]:
        """Sizes by name: the database, the snapshots of its raft, and the segments of its log."""
        ...

    def read(self, name: str, offset: int) -> bytes:
        """Return at most `PIECE` bytes from there."""
        ...


class DataOnHost(Protocol):
    """etcd's data on one host. Nothing is ever written there. Raises `HostUnreachable`."""

    def newest_segment(self) -> tuple[str, bytes] | None:
        """Return name and content of the log's newest segment, maybe without zeros at its end; None without one."""
        ...

    def stopped(self) -> AbstractContextManager[StoppedData]:
        """Give the files of an etcd that does not run.

        Raises `HostRefused` when one has the database open, when there is none, or, at the end, when they have changed.
        """
        ...


def running(address: str) -> HostRefused:
    """Return what to raise when an etcd has the database open."""
    return HostRefused(
        f"An etcd runs on the data of host {address}, so they cannot be copied.",
        hint="A member that serves gives a snapshot itself. One that does not serve must be stopped first.",
    )


def no_database(address: str) -> HostRefused:
    """Return what to raise where there are no data."""
    return HostRefused(f"Host {address} has no database of an etcd.", hint="Name a host that has data.")


def changed(address: str) -> HostRefused:
    """Return what to raise when the data are not what they were when the copy began."""
    return HostRefused(
        f"The data of etcd on host {address} changed while they were copied.",
        hint="Keep etcd from running there, and copy them again.",
    )


def is_data_file(name: str) -> bool:
    """Whether it is a file of etcd's in one of its directories, whole and still of use."""
    return _FILE.fullmatch(name) is not None and (
        name == "db" or name.endswith((".snap", ".snap.db", ".wal"))
    )


@dataclass(frozen=True, slots=True)
class LocalData:
    """Implements `DataOnHost` on this machine. `log` is the directory of a log that is elsewhere."""

    address: str
    data: Path
    log: Path | None

    @property
    def _log(self) -> Path:
        return self.log or self.data / "member/wal"

    def newest_segment(self) -> tuple[str, bytes] | None:
        """Return name and content of the newest segment of the log."""
        with self._reading():
            if not self._log.is_dir():
                return None
            for name in segments(path.name for path in self._log.iterdir()):
                return name, (self._log / name).read_bytes()
        return None

    @contextmanager
    def stopped(self) -> Iterator["StoppedData"]:
        """Give the files, under the lock on its database that etcd takes (bbolt, flock): none can start meanwhile."""
        with self._reading():
            try:
                database = _open(self.data / "member" / DATABASE)
            except FileNotFoundError:
                raise no_database(self.address) from None
        try:
            with self._reading():
                try:
                    fcntl.flock(database, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise running(self.address) from None
                paths = {f"snap/{path.name}": path for path in (self.data / "member/snap").iterdir()}
                paths |= (
                    {f"wal/{path.name}": path for path in self._log.iterdir()} if self._log.is_dir() else {}
                )
                found = {name: path for name, path in sorted(paths.items()) if is_data_file(path.name)}
            files = _LocalFiles(self, found)
            before = files.stamps()
            yield files
            if files.stamps() != before:
                raise changed(self.address)
        finally:
            os.close(database)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise unreadable(self.address, error.strerror or str(error)) from error


def unreadable(address: str, why: str) -> HostRefused:
    """Return what to raise when files are there and cannot be read."""
    return HostRefused(f"The data of etcd on host {address} cannot be read: {why}.")


@dataclass(frozen=True, slots=True)
class _LocalFiles:
    place: LocalData
    paths: Mapping[str, Path]

    @property
    def files(self) -> Mapping[str, int]:
        with self.place._reading():
            return {name: path.lstat().st_size for name, path in self.paths.items()}

    def stamps(self) -> dict[str, tuple[int, int, int]]:
        """Return what would show that a file was changed or is another one."""
        with self.place._reading():
            stats = {name: path.lstat() for name, path in self.paths.items()}
        return {name: (one.st_size, one.st_ino, one.st_mtime_ns) for name, one in stats.items()}

    def read(self, name: str, offset: int) -> bytes:
        with self.place._reading():
            handle = _open(self.paths[name])
            try:
                return os.pread(handle, PIECE, offset)
            finally:
                os.close(handle)


def _open(path: Path) -> int:
    """Open a regular file; non-blocking, so that a pipe in its place does not hang."""
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
