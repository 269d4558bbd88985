"""What a cluster needs beside its snapshot: files of its hosts, as one more age file of the same backup.

`NAME.include.age` is a tar of `HOST/PATH` for the same recipients; the signed manifest names every file with its host,
mode, owner, size and hash. The contents are in plain in this process's memory and nowhere else while a backup is taken.
"""

import hashlib
import io
import os
import shutil
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

from etcdplan.backup.age import decrypt, encrypt
from etcdplan.backup.destination import Destination
from etcdplan.backup.errors import BackupError
from etcdplan.backup.manifest import INCLUDE, Include, IncludedFile, LeftOut, Manifest
from etcdplan.backup.snapshot import Content
from etcdplan.hosts.remote.gather import IN_ALL, Gathered

HOSTS: Final = 64
"""More than a spec can name."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """What goes into a backup: a tar, its files, and what is not among them."""

    tar: bytes = field(repr=False)
    files: tuple[IncludedFile, ...]
    left_out: tuple[LeftOut, ...]

    def encrypted(self, recipients: Sequence[str]) -> bytes:
        """Return the age file."""
        sink = io.BytesIO()
        encrypt(io.BytesIO(self.tar), sink, recipients)
        return sink.getvalue()

    def described(self, encrypted: Content) -> Include:
        """Return what the manifest says of it."""
        return Include(
            size=len(self.tar),
            sha256=hashlib.sha256(self.tar).hexdigest(),
            encrypted_size=encrypted.size,
            encrypted_sha256=encrypted.sha256,
            files=self.files,
            left_out=self.left_out,
        )


def pack(found: Mapping[str, Gathered | str]) -> Parcel:
    """Return the parcel of what hosts gave; in the place of that stands why one gave nothing."""
    sink = io.BytesIO()
    files: list[IncludedFile] = []
    left_out: list[LeftOut] = []
    with tarfile.open(fileobj=sink, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for host, given in sorted(found.items()):
            if isinstance(given, str):
                left_out.append(LeftOut(host=host, why=given))
                continue
            left_out += (LeftOut(host=host, path=path, why=why) for path, why in given.left_out)
            for file in given.files:
                entry = tarfile.TarInfo(f"{host}{file.path}")
                entry.size, entry.mode = len(file.content), int(file.mode, 8)
                entry.uname, entry.gname = file.owner.split(":")
                tar.addfile(entry, io.BytesIO(file.content))
                files.append(
                    IncludedFile(
                        host=host,
                        path=file.path,
                        mode=file.mode,
                        owner=file.owner,
                        size=len(file.content),
                        sha256=hashlib.sha256(file.content).hexdigest(),
                    )
                )
    return Parcel(sink.getvalue(), tuple(files), tuple(left_out))


def open_include(
    destination: Destination, manifest: Manifest, identities: Sequence[Path]
) -> dict[str, bytes]:
    """Return the files by `HOST/PATH`, when they are those of the signed manifest; else raise `BackupError`."""
    said = manifest.include
    if said is None:
        raise BackupError(
            f"{manifest.name} has no files of hosts.",
            hint="They are in backups that are taken with spec.backup.include.",
        )
    name = f"{manifest.name}{INCLUDE} at {destination}"
    damaged = BackupError(f"{name} is not what the manifest says.", hint="Fetch it from another destination.")
    if said.size > HOSTS * 2 * IN_ALL:
        raise damaged
    sink = _Bounded(said.size)
    with destination.reader(manifest.name + INCLUDE) as encrypted:
        decrypt(encrypted, sink, identities, name=name)
    tar = sink.getvalue()
    if len(tar) != said.size or hashlib.sha256(tar).hexdigest() != said.sha256:
        raise damaged
    found = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(tar)) as opened:
            for file in said.files:
                content = opened.extractfile(file.place)
                found[file.place] = b"" if content is None else content.read()
    except (KeyError, tarfile.TarError):
        raise damaged from None
    if any(hashlib.sha256(found[file.place]).hexdigest() != file.sha256 for file in said.files):
        raise damaged
    return found


def write_files(files: Mapping[str, bytes], into: Path) -> None:
    """Write files below a new directory, of mode 0700 and 0600, whoever they belonged to; all or none.

    Raises `BackupError` when the directory is there, or cannot be written.
    """
    try:
        into.mkdir(mode=0o700)
    except FileExistsError:
        raise BackupError(f"{into} exists already.", hint="Name a new directory.") from None
    except OSError as error:
        raise BackupError(f"{into} cannot be made: {error.strerror}.") from None
    try:
        top = os.open(into, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            for name, data in files.items():
                _write_below(top, PurePosixPath(name).parts, data)
        finally:
            os.close(top)
    except BaseException as error:
        with suppress(OSError):
            shutil.rmtree(into)
        if isinstance(error, OSError):
            raise BackupError(f"{into} cannot be written: {error.strerror}.") from None
        raise


def _write_below(top: int, parts: Iterable[str], data: bytes) -> None:
    """Write one file; every directory on the way is opened from the one above it, and no link is followed."""
    *above, name = parts
    here = os.dup(top)
    try:
        for part in above:
            with suppress(FileExistsError):
                os.mkdir(part, 0o700, dir_fd=here)
            inside = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
            os.close(here)
            here = inside
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        with os.fdopen(os.open(name, flags, 0o600, dir_fd=here), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    finally:
        os.close(here)


class _Bounded(io.BytesIO):
    """Takes no more than it should."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def write(self, data: bytes, /) -> int:  # type: ignore[override]
        if self.tell() + len(data) > self._most:
            raise BackupError("The files of hosts are more than the manifest says.")
        return super().write(data)
