"""Backups in a directory. Files get a temporary name, and their own when all of them is on disk."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import Final

from etcdplan.backup.destination import Destination, Readable, Upload
from etcdplan.backup.errors import DestinationError
from etcdplan.backup.manifest import INCLUDE, MANIFEST, SIGNATURE, SNAPSHOT, time_of
from etcdplan.hosts.files import sync_directory

DEAD: Final = 86_400
"""Seconds after which an unfinished file is given up: every wait of a run that lives ends within minutes, and a day is
more than the clocks of a file server and of this machine are apart."""


class Directory(Destination):
    """One directory."""

    def __init__(self, path: Path) -> None:
        """Take a directory, which need not be there yet."""
        self.path = path.absolute()

    def __str__(self) -> str:
        return str(self.path)

    def sizes(self) -> dict[str, int | None]:
        found: dict[str, int | None] = {}
        with self.plainly("listed"), suppress(FileNotFoundError), os.scandir(self.path) as entries:
            for one in entries:
                if not one.name.startswith("."):
                    with suppress(FileNotFoundError):  # Removed in between.
                        found[one.name] = one.stat(follow_symlinks=False).st_size
        return found

    @contextmanager
    def reader(self, name: str) -> Iterator[Readable]:
        with self.plainly(f"asked for {name}"):
            # Non-blocking, so that a pipe in the file's place does not hang.
            handle = os.open(self.path / name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        with FileIO(handle, "rb") as file:
            yield _Reader(self, name, file)

    def upload(self, name: str) -> Upload:
        temporary = self.path / f".{name}.part"
        with self.plainly(f"given {name}"):
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        return _Upload(self, name, FileIO(handle, "wb"), temporary)

    def delete(self, name: str) -> None:
        with self.plainly(f"rid of {name}"):
            (self.path / name).unlink(missing_ok=True)
            sync_directory(self.path)

    def left_over(self) -> frozenset[str]:
        with self.plainly("listed"):
            return frozenset(path.name.removeprefix(".") for path in self._dead())

    def remove_left_over(self) -> None:
        with self.plainly("rid of what dead runs left"):
            for path in self._dead():
                path.unlink(missing_ok=True)

    def _dead(self) -> list[Path]:
        before = time.time() - DEAD
        try:
            return [
                path
                for path in self.path.iterdir()
                if unfinished(path.name) and path.lstat().st_mtime < before
            ]
        except FileNotFoundError:  # No such directory, or a run has finished the file just now.
            return []

    @contextmanager
    def plainly(self, what: str) -> Iterator[None]:
        """Raise `DestinationError` for what the operating system says."""
        try:
            yield
        except OSError as error:
            raise DestinationError(
                f"The backup directory {self} could not be {what}: {error.strerror or error}.",
                hint="Check that it is mounted, has room, and that this user may use it.",
            ) from None


def unfinished(name: str) -> bool:
    """Whether this is the temporary name of a backup's file."""
    return name.startswith(".") and any(
        name.endswith(f"{kind}.part") and time_of(name[1:].removesuffix(f"{kind}.part")) is not None
        for kind in (SNAPSHOT, INCLUDE, SIGNATURE, MANIFEST)
    )


class _Reader:
    def __init__(self, directory: Directory, name: str, file: FileIO) -> None:
        self._directory, self._name, self._file = directory, name, file

    def read(self, size: int, /) -> bytes:
        with self._directory.plainly(f"asked for {self._name}"):
            return self._file.read(size)


class _Upload(Upload):
    def __init__(self, directory: Directory, name: str, file: FileIO, temporary: Path) -> None:
        super().__init__()
        self._directory, self._name, self._file, self._temporary = directory, name, file, temporary

    def _add(self, data: bytes) -> None:
        with self._directory.plainly(f"given {self._name}"):
            rest = memoryview(data)
            while rest:
                rest = rest[self._file.write(rest) :]

    def _commit(self) -> None:
        with self._directory.plainly(f"given {self._name}"):
            os.fsync(self._file.fileno())
            self._file.close()
            os.link(self._temporary, self._directory.path / self._name)
            self._temporary.unlink()
            sync_directory(self._directory.path)

    def give_up(self) -> None:
        try:
            self._file.close()
            self._temporary.unlink(missing_ok=True)
        except OSError:
            return
