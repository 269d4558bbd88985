"""Encryption to age v1 files, and back, while the data passes by."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, TypeVar

import pyrage

from etcdplan.backup.errors import BackupError
from etcdplan.pki.errors import PkiError
from etcdplan.pki.keyfile import open_with, recipient

T = TypeVar("T")

_VERSION: Final = b"age-encryption.org/v1\n"
_END: Final = re.compile(rb"^--- ", re.MULTILINE)
_MAX_HEADER: Final = 1 << 16
"""Bytes; a header has about a hundred for each recipient."""
_PIECE: Final = 1 << 12


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
    error: BaseException | None = None

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


class _Opened:
    """A source whose header was looked at: age v1 as `encrypt` writes it."""

    def __init__(self, source: Reader, name: str) -> None:
        self._source, self._header = source, b""
        while _END.search(self._header) is None and len(self._header) <= _MAX_HEADER:
            if not (piece := source.read(_PIECE)):
                break
            self._header += piece
        end = _END.search(self._header)
        if not self._header.startswith(_VERSION) or end is None or end.start() > _MAX_HEADER:
            raise BackupError(f"{name} is no age file of version 1.", hint="Use another backup.")
        kinds = re.findall(rb"^-> ([^ \n]*)", self._header[: end.start()], re.MULTILINE)
        if b"scrypt" in kinds:
            raise BackupError(
                f"{name} is encrypted with a passphrase, and no backup is.", hint="Use another backup."
            )

    def read(self, size: int, /) -> bytes:
        """Return the header, and then the rest."""
        if self._header:
            part, self._header = self._header[:size], self._header[size:]
            return part
        return self._source.read(size)


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
    what the ends raise. The library never sees a file of another format, nor one that a passphrase opens: such a file
    says how much work it takes to try one.
    """
    ends = _Ends(_Opened(source, name), sink)
    try:
        open_with(identities, lambda keys: pyrage.decrypt_io(ends, ends, keys), name=name)
    except PkiError as error:
        raise BackupError(error.message, hint=error.hint) from None
    except (pyrage.DecryptError, OSError):  # OSError: a chunk that is not authentic
        raise ends.error or BackupError(
            f"{name} is damaged: it does not decrypt.", hint="Use another backup."
        ) from None
