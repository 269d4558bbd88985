"""Where backups go: a directory. Files get a temporary name, and their own when all of them is on disk."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Final

from etcdplan.backup.errors import DestinationError
from etcdplan.backup.snapshot import Content
from etcdplan.hosts.files import sync_directory

_PIECE: Final = 1 << 20


class Destination:
    """One directory. Everything raises `DestinationError`."""

    def __init__(self, path: Path) -> None:
        """Take a directory, which need not be there yet."""
        self.path = path.absolute()

    def __str__(self) -> str:
        return str(self.path)

    def names(self) -> frozenset[str]:
        """Return the names of the files there, temporary ones left out; none when there is no such directory."""
        with self._plainly("listed"):
            try:
                return frozenset(one.name for one in self.path.iterdir() if not one.name.startswith("."))
            except FileNotFoundError:
                return frozenset()

    @contextmanager
    def reader(self, name: str) -> Iterator["File"]:
        """Open a file to be read from its beginning."""
        with self._plainly(f"asked for {name}"):
            # Non-blocking, so that a pipe in the file's place does not hang.
            handle = os.open(self.path / name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        with FileIO(handle, "rb") as file:
            yield File(self, name, file)

    def content(self, name: str) -> Content:
        """Read all of a file; return its size and SHA-256."""
        size, digest = 0, hashlib.sha256()
        with self.reader(name) as file:
            while piece := file.read(_PIECE):
                size += len(piece)
                digest.update(piece)
        return Content(size, digest.hexdigest())

    def read(self, name: str, *, limit: int) -> bytes:
        """Return a small file; raise also when it has more than `limit` bytes."""
        with self.reader(name) as file:
            data = b""
            while len(data) <= limit and (piece := file.read(limit + 1 - len(data))):
                data += piece
        if len(data) > limit:
            raise DestinationError(f"{name} in {self} has more than {limit} bytes.")
        return data

    def upload(self, name: str) -> "Upload":
        """Begin a new file; it is there when its `finish` returns."""
        temporary = self.path / f".{name}.part"
        with self._plainly(f"given {name}"):
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        return Upload(File(self, name, FileIO(handle, "wb")), temporary)

    def write(self, name: str, data: bytes) -> None:
        """Write a small new file, whole or not at all."""
        with self.upload(name) as upload:
            upload.write(data)
            upload.finish()

    def delete(self, name: str) -> None:
        """Remove a file; one that is not there is removed."""
        with self._plainly(f"rid of {name}"):
            (self.path / name).unlink(missing_ok=True)
            sync_directory(self.path)

    @contextmanager
    def _plainly(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DestinationError(
                f"The backup directory {self} could not be {what}: {error.strerror or error}.",
                hint="Check that it is mounted, has room, and that this user may use it.",
            ) from None


class File:
    """An open file of a destination."""

    def __init__(self, destination: Destination, name: str, file: FileIO) -> None:
        self.destination, self.name, self.file = destination, name, file

    def read(self, size: int) -> bytes:
        """Return at most so many bytes, none at the end."""
        with self.destination._plainly(f"asked for {self.name}"):
            return self.file.read(size)

    def write(self, data: bytes) -> None:
        """Write all of the bytes."""
        with self.destination._plainly(f"given {self.name}"):
            rest = memoryview(data)
            while rest:
                rest = rest[self.file.write(rest) :]


class Upload:
    """A file that is being written. Whoever began it calls `finish` or `give_up`; the latter is done at an error."""

    def __init__(self, file: File, temporary: Path) -> None:
        self.destination = file.destination
        self._file, self._temporary = file, temporary
        self._size, self._digest = 0, hashlib.sha256()

    def __enter__(self) -> "Upload":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.give_up()

    def write(self, data: bytes) -> int:
        """Add to the file."""
        self._file.write(data)
        self._size += len(data)
        self._digest.update(data)
        return len(data)

    @property
    def content(self) -> Content:
        """What was written so far."""
        return Content(self._size, self._digest.hexdigest())

    def finish(self) -> Content:
        """Give the file its name, synced, over no other; return what was written."""
        with self.destination._plainly(f"given {self._file.name}"):
            os.fsync(self._file.file.fileno())
            self._file.file.close()
            os.link(self._temporary, self.destination.path / self._file.name)
            self._temporary.unlink()
            sync_directory(self.destination.path)
        return self.content

    def give_up(self) -> None:
        """Leave no half-written file behind, as far as that is possible."""
        try:
            self._file.file.close()
            self._temporary.unlink(missing_ok=True)
        except OSError:
            return
