"""What a place for backups does. There are directories and object stores."""

import hashlib
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Final, Protocol

from etcdplan.backup.errors import DestinationError
from etcdplan.backup.snapshot import Content

PIECE: Final = 1 << 20


class Readable(Protocol):
    """An open file of a destination."""

    def read(self, size: int, /) -> bytes:
        """Return at most so many bytes, none at the end."""
        ...


class Upload(ABC):
    """A file that is being written. Whoever began it calls `finish` or `give_up`; the latter is done at an error."""

    def __init__(self) -> None:
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
        self._add(data)
        self._size += len(data)
        self._digest.update(data)
        return len(data)

    @property
    def content(self) -> Content:
        """What was written so far."""
        return Content(self._size, self._digest.hexdigest())

    def finish(self) -> Content:
        """Give the file its name, durably, over no other; return what was written."""
        self._commit()
        return self.content

    @abstractmethod
    def give_up(self) -> None:
        """Leave no half-written file behind, as far as that is possible; raise nothing."""

    @abstractmethod
    def _add(self, data: bytes) -> None: ...

    @abstractmethod
    def _commit(self) -> None: ...


def not_what_was_written(place: object, name: str) -> DestinationError:
    """Return what to raise for a destination that says that it has a file, and has another one."""
    return DestinationError(
        f"{place} does not give back what was written to it as {name}.",
        hint="Its storage is not to be trusted; look after the older backups there, too.",
    )


class Destination(ABC):
    """Where backups are. Everything raises `DestinationError`."""

    @abstractmethod
    def __str__(self) -> str: ...

    @abstractmethod
    def sizes(self) -> dict[str, int | None]:
        """Return the size of each file there by name, None when the store does not say it.

        Unfinished ones are left out; there are none when nothing was ever written.
        """

    def names(self) -> frozenset[str]:
        """Return the names of the files there."""
        return frozenset(self.sizes())

    @abstractmethod
    def reader(self, name: str) -> AbstractContextManager[Readable]:
        """Open a file to be read from its beginning."""

    @abstractmethod
    def upload(self, name: str) -> Upload:
        """Begin a new file; it is there when its `finish` returns."""

    @abstractmethod
    def delete(self, name: str) -> None:
        """Remove a file; one that is not there is removed."""

    def retract(self, name: str) -> None:
        """Remove a file that this run wrote, and that will never count."""
        self.delete(name)

    @abstractmethod
    def left_over(self) -> frozenset[str]:
        """Return the names of files that a dead run began; none where unfinished files cannot be seen."""

    @abstractmethod
    def remove_left_over(self) -> None:
        """Remove those."""

    def content(self, name: str) -> Content:
        """Read all of a file; return its size and SHA-256."""
        size, digest = 0, hashlib.sha256()
        with self.reader(name) as file:
            while piece := file.read(PIECE):
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

    def write(self, name: str, data: bytes) -> None:
        """Write a small new file, whole or not at all, and read it back."""
        with self.upload(name) as upload:
            upload.write(data)
            written = upload.finish()
        if self.content(name) != written:
            self.retract(name)
            raise not_what_was_written(self, name)
