"""etcd out of an archive, as its releases are; the archive is checked as a whole before anything of it is used."""

import hashlib
import io
import re
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from gzip import BadGzipFile, GzipFile
from pathlib import Path

from etcdplan.errors import EtcdplanError
from etcdplan.spec.lint import Finding
from etcdplan.spec.load import LoadedSpec
from etcdplan.spec.problems import Address, render_address
from etcdplan.spec.versions import Severity

_WANTED = re.compile(r"(?:\./)?(?:[A-Za-z0-9_][A-Za-z0-9._+-]*/)?(etcd|etcdctl|etcdutl)")
_PACKED = 512 << 20
_UNPACKED = 1 << 30
_PROGRAM = 256 << 20
_MEMBERS = 10_000
_ELF = b"\x7fELF"


class ArchiveError(EtcdplanError):
    """The archive that the spec names is not there, or is not what the spec says."""


class ArchiveMissing(ArchiveError):
    """It cannot be read at all."""


@dataclass(frozen=True)
class EtcdArchive:
    """A `.tar.gz` of this machine, and the SHA-256 that it must have."""

    path: Path
    sha256: str

    def files(self) -> dict[str, bytes]:
        """Return `etcd` and, where they are in it, `etcdctl` and `etcdutl`; raise `ArchiveError`."""
        return self._files

    @cached_property
    def _files(self) -> dict[str, bytes]:
        packed = self._packed()
        found: dict[str, bytes] = {}
        try:
            with GzipFile(fileobj=io.BytesIO(packed)) as plain, closing(_tar(plain)) as tar:
                for name, content in self._programs(tar):
                    if name in found:
                        raise self._wrong(f"it holds {name} twice")
                    found[name] = content
        except (tarfile.TarError, BadGzipFile, zlib.error, EOFError, ValueError, OverflowError) as error:
            raise self._wrong(f"it cannot be read as a .tar.gz ({error})") from error
        if "etcd" not in found:
            raise self._wrong("it holds no program 'etcd'")
        return dict(sorted(found.items()))

    def _packed(self) -> bytes:
        try:
            # Not a device, nor a pipe that nobody writes to.
            if not self.path.is_file():
                raise FileNotFoundError(None, "there is no such file")
            with self.path.open("rb") as file:
                packed = file.read(_PACKED + 1)
        except OSError as error:
            raise ArchiveMissing(
                f"{self.path}, the archive that etcd comes from, cannot be read: {error.strerror}.",
                hint="Put it there, or correct etcd.source.archive, which is relative to the spec.",
            ) from error
        if len(packed) > _PACKED:
            raise self._wrong(f"it is larger than {_PACKED >> 20} MiB")
        found = hashlib.sha256(packed).hexdigest()
        if found != self.sha256:
            raise ArchiveError(
                f"{self.path} has the SHA-256 {found}, and the spec says {self.sha256}. Nothing of it was used.",
                hint="Fetch it again, and compare with the checksum that its publisher gives.",
            )
        return packed

    def _programs(self, tar: tarfile.TarFile) -> Iterator[tuple[str, bytes]]:
        for number, member in enumerate(tar):
            if number == _MEMBERS:
                raise self._wrong(f"it has more than {_MEMBERS} members")
            if member.name.startswith("/") or ".." in member.name.split("/"):
                raise self._wrong(f"it has a member {member.name!r}, which leads out of it")
            match = _WANTED.fullmatch(member.name)
            if match is None or member.isdir():
                continue
            if not member.isreg() or member.issparse():
                raise self._wrong(f"its member {member.name!r} is no plain file")
            if member.size > _PROGRAM:
                raise self._wrong(f"its member {member.name!r} is larger than {_PROGRAM >> 20} MiB")
            file = tar.extractfile(member)
            content = file.read() if file else b""
            if len(content) != member.size or not content.startswith(_ELF):
                raise self._wrong(f"its member {member.name!r} is no program for Linux")
            yield match[1], content

    def _wrong(self, what: str) -> ArchiveError:
        return ArchiveError(
            f"{self.path} is no archive of etcd: {what}. Nothing of it was used.",
            hint="Use a release of etcd for Linux, such as etcd-v3.6.16-linux-amd64.tar.gz.",
        )


def check_archive(loaded: LoadedSpec) -> tuple[Finding, ...]:
    """Say whether the archive that a spec names can be used, before a run needs it.

    That it is missing is a warning: it may be fetched by then, and `plan` goes without it.
    """
    etcd = loaded.spec.spec.etcd
    if etcd.source is None:
        return ()
    archive = EtcdArchive(loaded.path.parent / etcd.source.archive, etcd.source.sha256)
    try:
        # Programs in Go have their strings as they are; nothing is run.
        if etcd.version.encode() in archive.files()["etcd"]:
            return ()
        what = f"the etcd in {archive.path} is of another version than the spec's {etcd.version}"
        remedy = "make 'version' and 'source' name the same release"
        return (_finding(loaded, "EP132", ("spec", "etcd", "source", "archive"), what, remedy),)
    except ArchiveMissing as error:
        return (_finding(loaded, "EP131", ("spec", "etcd", "source", "archive"), error.message, error.hint),)
    except ArchiveError as error:
        return (_finding(loaded, "EP132", ("spec", "etcd", "source", "sha256"), error.message, error.hint),)


def _finding(loaded: LoadedSpec, code: str, address: Address, what: str, remedy: str) -> Finding:
    severity: Severity = "warning" if code == "EP131" else "error"
    words = what.rstrip("."), remedy.rstrip(".")
    return Finding(code, severity, render_address(address), loaded.position(address), *words)


def _tar(plain: GzipFile) -> tarfile.TarFile:
    return tarfile.open(fileobj=_Bounded(plain), mode="r|")


class _Bounded(io.RawIOBase):
    """What a few bytes unpack to is not without end."""

    def __init__(self, plain: GzipFile) -> None:
        self._plain = plain
        self._left = _UNPACKED

    def read(self, size: int = -1) -> bytes:
        """Return up to so many bytes; raise `ValueError` when it was too much in all."""
        if size < 0 or size > self._left:
            raise ValueError(f"it unpacks to more than {_UNPACKED >> 20} MiB")
        content = self._plain.read(size)
        self._left -= len(content)
        return content
