"""Encryption to age v1 files, and back, while the data passes by."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

import pyrage

from etcdplan.backup.errors import BackupError
from etcdplan.pki.keyfile import read_identities, recipient

T = TypeVar("T")


class Reader(Protocol):
    """Gives at most so many bytes, and none only at the end."""

    def read(self, size: int, /) -> bytes:
        """Return them."""
        ...


class Writer(Protocol):
    """Takes bytes."""

    def write(self, data: bytes, /) -> int:
        """Return how many of them were taken."""
        ...


@dataclass(slots=True)
class _Ends:
    """Both ends of a stream. The library makes texts of what they raise, interrupts too, so that is kept here."""

    source: Reader
    sink: Writer
    error: BaseException | None = field(default=None)

    def read(self, size: int) -> bytes:
        return self._kept(lambda: self.source.read(size))

    def write(self, data: bytes) -> int:
        return self._kept(lambda: self.sink.write(data))

    def flush(self) -> None:
        pass

    def _kept(self, act: Callable[[], T]) -> T:
        try:
            return act()
        except BaseException as error:
            self.error = error
            raise


def encrypt(source: Reader, sink: Writer, recipients: Sequence[str]) -> None:
    """Encrypt for all recipients (`age1…`); raise what the ends raise, or `PkiError` for a wrong recipient."""
    ends = _Ends(source, sink)
    try:
        pyrage.encrypt_io(ends, ends, [recipient(text) for text in recipients])
    except pyrage.EncryptError as error:
        raise ends.error or BackupError(f"The snapshot could not be encrypted: {error}.") from None


def decrypt(source: Reader, sink: Writer, identities: Sequence[Path], *, name: str) -> None:
    """Decrypt with one of the identity files; `name` is that of the age file, for errors.

    What was written is good only when this returns: that an end is missing shows at the end. Raises `BackupError`, and
    what the ends raise.
    """
    if not identities:
        raise BackupError(
            f"{name} is encrypted with age, and no identity is given.",
            hint="Name the file with the AGE-SECRET-KEY that opens it (--age-identity, or ETCDPLAN_AGE_IDENTITY).",
        )
    keys = [key for file in identities for key in read_identities(file)]
    ends = _Ends(source, sink)
    try:
        pyrage.decrypt_io(ends, ends, keys)
    except (pyrage.DecryptError, OSError) as error:  # OSError: a chunk that is not authentic
        if ends.error is not None:
            raise ends.error from None
        if "No matching keys" in str(error):
            raise BackupError(
                f"None of the given age identities opens {name}: {', '.join(map(str, identities))}.",
                hint="Name the identity of one of the recipients that it was encrypted for.",
            ) from None
        raise BackupError(f"{name} is damaged: it does not decrypt.", hint="Use another backup.") from None
