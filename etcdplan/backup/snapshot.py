"""A snapshot as etcd streams it: a database, and its SHA-256 in the last 32 bytes."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from etcdplan.backup.errors import BackupError

TRAILER: Final = 32
_PAGE: Final = 512
"""What a database's size is a multiple of (etcd `etcdutl/snapshot`, hasChecksum)."""


@dataclass(frozen=True, slots=True)
class Content:
    """Size in bytes and SHA-256 (hex) of a file."""

    size: int
    sha256: str


class SnapshotReader:
    """Reads a snapshot from pieces as a file is read, and checks it while it passes; nothing is kept.

    `passed` is told the bytes read so far.
    """

    def __init__(self, pieces: Iterable[bytes], passed: Callable[[int], None] = lambda _: None) -> None:
        self._pieces: Iterator[bytes] = iter(pieces)
        self._passed = passed
        self._piece = memoryview(b"")
        self._database = hashlib.sha256()
        self._tail = b""
        self._size = 0

    def read(self, size: int) -> bytes:
        """Return at most `size` bytes, none at the end."""
        while not self._piece:
            piece = next(self._pieces, None)
            if piece is None:
                return b""
            self._take(piece)
        part, self._piece = self._piece[:size], self._piece[size:]
        return bytes(part)

    def _take(self, piece: bytes) -> None:
        self._piece = memoryview(piece)
        self._size += len(piece)
        held = self._tail + piece
        self._database.update(held[:-TRAILER])
        self._tail = held[-TRAILER:]
        self._passed(self._size)

    def finish(self) -> Content:
        """Return what was read; raise `BackupError` unless all of it was, and the SHA-256 at its end is right."""
        if self._size <= TRAILER or self._size % _PAGE != TRAILER:
            raise BackupError(
                f"The snapshot has no SHA-256 at its end ({self._size} bytes), so it may be cut off.",
                hint="Take it again.",
            )
        if self._database.digest() != self._tail:
            raise BackupError(
                "The snapshot is damaged: the SHA-256 at its end is not that of what came before.",
                hint="Take it again.",
            )
        whole = self._database.copy()
        whole.update(self._tail)
        return Content(self._size, whole.hexdigest())
