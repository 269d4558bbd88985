"""Files that are whole or not there at all, whenever the power goes, and errors of files in plain words."""

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from etcdplan.hosts.ports import HostRefused

_REASONS = {
    errno.ENOSPC: ("its disk is full", "Free some space there."),
    errno.EDQUOT: ("the disk quota of its user is used up", "Free some space there."),
    errno.EROFS: ("its file system is read-only", "Mount it writable."),
    errno.EACCES: ("permission is denied", "Run as the user who owns the files."),
    errno.EPERM: ("permission is denied", "Run as the user who owns the files."),
}


def plain_reason(error: OSError) -> str:
    """Say what the error means for a host, without a full stop."""
    return _REASONS.get(error.errno or 0, (error.strerror or str(error), ""))[0]


def refusal(address: str, error: OSError) -> HostRefused:
    """Return the error to raise when the host with that address did not do something because of `error`."""
    place = f" ({error.filename})" if error.filename else ""
    hint = _REASONS.get(error.errno or 0, ("", ""))[1]
    return HostRefused(f"Host {address} refused: {plain_reason(error)}{place}.", hint=hint)


@contextlib.contextmanager
def replacing(path: Path, content: bytes) -> Iterator[None]:
    """Have a new file (0600, synced) ready on entry, put it in the place of `path` on a normal exit.

    What can fail for want of room or permission fails on entry. The directory is made if it is missing.
    """
    make_directory(path.parent)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        yield
        temporary.rename(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    sync_directory(path.parent)


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file's content as a whole."""
    with replacing(path, content):
        pass


def make_directory(path: Path) -> None:
    """Make a directory for its owner alone, unless it is there.

    Not those above it: what is below a host's directory must not bring back a host that is gone.
    """
    path.mkdir(mode=0o700, exist_ok=True)


def sync_directory(path: Path) -> None:
    """Make renames and removals in a directory lasting."""
    _sync(path, os.O_DIRECTORY)


def sync(path: Path) -> None:
    """Make a file's content, or a directory's names, lasting."""
    _sync(path, 0)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_if_there(path: Path) -> bytes | None:
    """Return a file's content, None when there is none; raise `OSError` when it cannot be read."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
