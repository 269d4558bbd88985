"""Files that commands write for their user."""

import os
import tempfile
from pathlib import Path

from etcdplan.errors import EtcdplanError


def write_file(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Write a file whole or not at all, by default readable by its owner alone; raise `EtcdplanError`."""
    try:
        if path.is_dir():
            raise IsADirectoryError(None, "It is a directory")
        _write(path, content, mode)
    except OSError as error:
        raise EtcdplanError(
            f"{path} cannot be written: {error.strerror or error}.",
            hint="Name a file in a directory that exists, has room, and that this user may write.",
        ) from None


def _write(path: Path, content: bytes, mode: int) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
