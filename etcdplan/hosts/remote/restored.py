"""A member's restored data on a systemd host: sent as a whole or not at all, and put in the place of the old."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from etcdplan.hosts.ports import Claim, HostRefused, StagedFiles
from etcdplan.hosts.remote.once import Effects

_CHUNK = 1 << 20
_PAGE = 4096


@dataclass(frozen=True)
class _File:
    """One file of the data: behind `sent` bytes come zeros only, as in the space that etcd allocates for its log."""

    name: str
    path: Path
    size: int
    sent: int
    sha256: str

    @classmethod
    def of(cls, root: Path, path: Path) -> "_File":
        """Read a file once."""
        size, sent, position = path.stat().st_size, 0, 0
        with path.open("rb") as file:
            while chunk := file.read(_PAGE):
                position += len(chunk)
                if chunk.count(0) != len(chunk):
                    sent = position
            file.seek(0)
            digest = hashlib.sha256()
            for chunk in _pieces(path, sent):
                digest.update(chunk)
        return cls(str(path.relative_to(root)), path, size, sent, digest.hexdigest())


def _pieces(path: Path, size: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        while size and (chunk := file.read(min(size, _CHUNK))):
            size -= len(chunk)
            yield chunk


@dataclass(frozen=True)
class StagedStream:
    """Implements `Stream`: the files of a data directory, one after the other."""

    root: Path

    @cached_property
    def files(self) -> tuple[_File, ...]:
        """Return the files, in the order in which they are sent."""
        member = self.root / "member"
        return tuple(_File.of(member, path) for path in sorted(member.rglob("*")) if path.is_file())

    @property
    def size(self) -> int:
        """Bytes in all."""
        return sum(file.sent for file in self.files)

    def chunks(self) -> Iterator[bytes]:
        """Yield all of it."""
        for file in self.files:
            yield from _pieces(file.path, file.sent)


def stage(
    effects: Effects, claim: Claim, staged: StagedFiles, place: tuple[str, str, str], user: str
) -> None:
    """Send the data to a place, which is etcd's unit, its data directory, and that of a log which is elsewhere."""
    try:
        stream = StagedStream(staged.root)
        files = [(file.name, str(file.sent), str(file.size), file.sha256) for file in stream.files]
    except OSError as error:
        raise HostRefused(f"The restored data cannot be read on this machine: {error.strerror}.") from error
    words = [word for file in files for word in file]
    effects.do(
        claim, "stage-data", "stage restored data", *place, user, *words, stream=stream, script="restored"
    )


def adopt(effects: Effects, claim: Claim, place: tuple[str, str, str]) -> None:
    """Rename what is staged to where etcd reads it; refused while etcd runs."""
    effects.do(claim, "adopt-staged", "put the restored data in place", *place, script="restored")


def discard(effects: Effects, claim: Claim, place: tuple[str, str, str]) -> None:
    """Remove what is staged."""
    effects.do(claim, "discard-staged", "remove staged data", *place, script="restored")
