"""etcdplan's own directory on a host of this machine."""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from etcdplan.hosts.files import (
    make_directory,
    plain_reason,
    read_if_there,
    refusal,
    sync_directory,
    write_atomically,
)
from etcdplan.hosts.ports import STATE_DIR, STORE_NAME, HostRefused, HostUnreachable

_POLL = 0.02


@dataclass(frozen=True, slots=True)
class LocalStore:
    """Implements `HostStore` in a directory below the host's root."""

    address: str
    root: Path

    @property
    def directory(self) -> Path:
        """Where everything is kept."""
        return self.root / STATE_DIR.lstrip("/")

    def read(self, name: str) -> bytes | None:
        """Return a file's content, None when there is none."""
        with self.reading():
            return read_if_there(self._path(name))

    def names(self, directory: str) -> tuple[str, ...]:
        """Return the names in a directory, sorted."""
        with self.reading():
            try:
                entries = os.listdir(self._path(directory) if directory else self.directory)  # noqa: PTH208
            except FileNotFoundError:
                return ()
            # Half-written files, and what a killed writer left, begin with a dot.
            return tuple(sorted(entry for entry in entries if not entry.startswith(".")))

    def write(self, name: str, content: bytes) -> None:
        """Write a file atomically."""
        with self.writing():
            self._make_parents(name)
            write_atomically(self._path(name), content)

    def append(self, name: str, content: bytes) -> None:
        """Append to a file and sync it; what could be appended only in part is taken back."""
        path = self._path(name)
        with self.writing():
            self._make_parents(name)
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                size = os.fstat(descriptor).st_size
                try:
                    rest = memoryview(content)
                    while rest:
                        rest = rest[os.write(descriptor, rest) :]
                    os.fsync(descriptor)
                except OSError:
                    with contextlib.suppress(OSError):
                        os.ftruncate(descriptor, size)
                    raise
            finally:
                os.close(descriptor)
            if size == 0:
                sync_directory(path.parent)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        path = self._path(name)
        with self.writing(), contextlib.suppress(FileNotFoundError):
            path.unlink()
            sync_directory(path.parent)

    def replace(self, name: str, seen: bytes | None, content: bytes, *, timeout: float) -> bool:
        """Write a file if its content is `seen`, under the guard."""
        with self.exclusive(timeout=timeout):
            if self.read(name) != seen:
                return False
            self.write(name, content)
            return True

    def end_sessions(self, token: int) -> None:
        """Do nothing: calls from this machine hold the guard, and a frozen holder of it is not taken over."""

    @contextlib.contextmanager
    def exclusive(self, *, timeout: float) -> Iterator[None]:
        """Hold the host's guard; the kernel lets it go when the holder dies."""
        deadline = time.monotonic() + timeout
        with self.writing():
            make_directory(self.directory)
            descriptor = os.open(self.directory / "guard", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() >= deadline:
                        raise HostRefused(
                            f"Host {self.address} is busy: another effect has held its guard for {timeout:.0f} s.",
                            hint="Wait until the other run is done.",
                        ) from None
                    time.sleep(_POLL)
            yield
        finally:
            os.close(descriptor)

    def check_there(self) -> None:
        """Raise `HostUnreachable` when the host's directory is gone."""
        if not self.root.is_dir():
            raise HostUnreachable(
                f"Host {self.address} does not answer: {self.root} is gone.",
                hint="A host of a lab is a directory; use another host in its place.",
            )

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Read below the host's root: an `OSError`, or a root that is gone afterwards, is `HostUnreachable`."""
        self.check_there()
        try:
            yield
        except OSError as error:
            self.check_there()
            raise HostUnreachable(
                f"Host {self.address} cannot be read: {plain_reason(error)} ({error.filename})."
            ) from error
        # What is not found in a directory that vanishes just now says nothing.
        self.check_there()

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Write below the host's root: an `OSError` is `HostRefused`, or `HostUnreachable` when the root is gone."""
        self.check_there()
        try:
            yield
        except OSError as error:
            self.check_there()
            raise refusal(self.address, error) from error

    def _make_parents(self, name: str) -> None:
        for parent in reversed([*self._path(name).relative_to(self.directory).parents]):
            make_directory(self.directory / parent)

    def _path(self, name: str) -> Path:
        if not STORE_NAME.fullmatch(name):
            raise HostRefused(f"{name!r} is not a name in the directory of host {self.address}.")
        return self.directory / name
