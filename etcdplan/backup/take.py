"""Taking a backup: one stream from a member through encryption to every destination, proven before it counts."""

import hashlib
import secrets
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from etcdplan import __version__
from etcdplan.backup.age import decrypt, encrypt
from etcdplan.backup.destination import Destination, Upload, not_what_was_written
from etcdplan.backup.errors import BackupError, DestinationError
from etcdplan.backup.etcd_tools import EtcdTools
from etcdplan.backup.include import Parcel, open_include
from etcdplan.backup.manifest import (
    INCLUDE,
    MANIFEST,
    SIGNATURE,
    SNAPSHOT,
    KvHash,
    Level,
    Manifest,
    Origin,
    Trial,
    new_name,
    written,
)
from etcdplan.backup.signing import Signer
from etcdplan.backup.snapshot import TRAILER, Content, SnapshotReader
from etcdplan.backup.trial import try_restore
from etcdplan.transport.errors import EtcdRejected, EtcdUnreachable
from etcdplan.transport.etcd import EtcdClient

T = TypeVar("T")

STALL: Final = 60.0
"""Seconds without a piece of the snapshot after which the member is given up."""
_CALL: Final = 10.0
_HASH: Final = 60.0
_HASHED_UP_TO: Final = 256 * 1024**2
"""Bytes of data up to which the member is asked for its hash: it holds writes back while it reads them all."""


@dataclass(frozen=True, slots=True)
class Source:
    """The member that a snapshot is taken from; `origin` when that does not serve with quorum."""

    cluster: str
    member: str
    etcd: EtcdClient
    origin: Origin | None = None
    cluster_id: int = 0
    """That of the data, where the etcd that gives them does not say it."""

    def revision(self) -> int:
        """Return the revision that must be in the snapshot."""
        if self.origin is not None and self.origin.kind == "survivor":
            return self.etcd.own_revision(timeout=_CALL)
        return self.etcd.linearizable_read(timeout=_CALL)


@dataclass(frozen=True, slots=True)
class Proof:
    """How far a backup is proven; `restore` needs the tools and an identity that opens what was written."""

    level: Level
    tools: EtcdTools | None = None
    identities: Sequence[Path] = ()
    scratch: Path | None = None
    """Where the snapshot lies decrypted while it is tried; the system's directory for temporary files by default."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A backup that counts, and what became of destinations that do not have it."""

    manifest: Manifest
    destinations: tuple[str, ...]
    failures: tuple[DestinationError, ...]


def take_backup(
    source: Source,
    destinations: Sequence[Destination],
    recipients: Sequence[str],
    signer: Signer,
    proof: Proof,
    *,
    now: int,
    parcel: Parcel | None = None,
    passed: Callable[[int, int], None] = lambda _done, _all: None,
) -> Taken:
    """Take, encrypt, prove and sign a backup; `passed` is told the bytes read, and about how many there will be.

    A `parcel` of hosts' files goes with it.

    A destination that fails is left out and told of; raises `BackupError` when none is left or the snapshot is no
    good, `EtcdUnreachable` when the member does not give it. Nothing is left behind then where anything may be removed,
    and older backups are not touched.
    """
    name = new_name(source.cluster, now, secrets.token_hex(4))
    status = source.etcd.status(timeout=_CALL)
    revision = source.revision()
    for place in destinations:
        with suppress(DestinationError):  # It is named when it does not take the backup either.
            place.remove_left_over()
    ends = _Fan(name + SNAPSHOT, destinations)
    try:
        reader = SnapshotReader(
            source.etcd.snapshot(stall=STALL), lambda done: passed(done, max(done, status.db_size + TRAILER))
        )
        encrypt(reader, ends, recipients)
        content = reader.finish()
        encrypted = ends.finish()
        member = _hash(source.etcd, revision) if status.db_size_in_use <= _HASHED_UP_TO else None
        ends.read_back(name + SNAPSHOT, encrypted)
        include = None
        if parcel is not None:
            include = parcel.described(ends.put(name + INCLUDE, parcel.encrypted(recipients)))
        trial = None
        if proof.level == "restore":
            trial = _try(ends.left[0], name, content, proof, member=member, at_least=revision)
        manifest = Manifest(
            name=name,
            cluster=source.cluster,
            cluster_id=f"{source.cluster_id or status.cluster_id:x}",
            member=source.member,
            etcd_version=status.version,
            revision=revision,
            taken_at=written(now),
            size=content.size,
            sha256=content.sha256,
            encrypted_size=encrypted.size,
            encrypted_sha256=encrypted.sha256,
            recipients=tuple(recipients),
            verified=proof.level,
            origin=source.origin,
            kv_hash=member,
            trial=trial,
            include=include,
            made_by=f"etcdplan {__version__}",
        )
        if include is not None and proof.level == "restore":
            open_include(ends.left[0], manifest, proof.identities)
        ends.publish(manifest, signer)
        return Taken(manifest, tuple(str(one) for one in ends.left), tuple(ends.failures))
    except BaseException:
        ends.give_up()
        raise


def prove(destination: Destination, manifest: Manifest, proof: Proof) -> Trial:
    """Read a backup back and restore it on trial; raise `BackupError` when it is not what its manifest says."""
    name = manifest.name
    if destination.content(name + SNAPSHOT) != Content(manifest.encrypted_size, manifest.encrypted_sha256):
        raise BackupError(
            f"{name} in {destination} is damaged: it is not what its manifest says.",
            hint="Use another backup.",
        )
    if manifest.include is not None:
        open_include(destination, manifest, proof.identities)
    content = Content(manifest.size, manifest.sha256)
    return _try(destination, name, content, proof, member=manifest.kv_hash, at_least=manifest.revision)


def _try(
    destination: Destination,
    name: str,
    content: Content,
    proof: Proof,
    *,
    member: KvHash | None,
    at_least: int,
) -> Trial:
    if proof.tools is None:
        raise BackupError("A trial restore was asked for, and there are no programs for it.")
    with _decrypted(destination, name, content, proof) as (snapshot, scratch):
        return try_restore(snapshot, scratch, proof.tools, member=member, at_least=at_least)


@contextmanager
def _decrypted(
    destination: Destination, name: str, expected: Content, proof: Proof
) -> Iterator[tuple[Path, Path]]:
    """Read a snapshot back, decrypted, into a directory that only this user may enter, and that is gone afterwards.

    Gives the snapshot's path and the directory. Raises `BackupError` when it is not what was written.
    """
    with tempfile.TemporaryDirectory(prefix="etcdplan-", dir=proof.scratch) as directory:
        path = Path(directory, "snapshot.db")
        with path.open("xb") as file, destination.reader(name + SNAPSHOT) as encrypted:
            decrypt(encrypted, file, proof.identities, name=f"{name} at {destination}")
        with path.open("rb") as file:
            reader = SnapshotReader(iter(lambda: file.read(1 << 20), b""))
            while reader.read(1 << 20):
                pass
            if reader.finish() != expected:
                raise BackupError(f"{name} at {destination} does not decrypt to the snapshot that was taken.")
        yield path, Path(directory)


def _hash(etcd: EtcdClient, revision: int) -> KvHash | None:
    try:
        hashed = etcd.hash_kv(revision, timeout=_HASH)
    except (EtcdUnreachable, EtcdRejected):
        return None
    return KvHash(hash=hashed.value, revision=revision, compact_revision=hashed.compact_revision)


class _Fan:
    """Does the same at several destinations; one that fails drops out, and what was written there goes."""

    def __init__(self, name: str, destinations: Sequence[Destination]) -> None:
        self._name = name
        self.failures: list[DestinationError] = []
        self._left = list(destinations)
        self._uploads: dict[Destination, Upload] = {}
        self._written: dict[Destination, list[str]] = {place: [] for place in destinations}
        self._counts: set[Destination] = set()
        self._each(lambda place: self._uploads.setdefault(place, place.upload(name)))

    @property
    def left(self) -> tuple[Destination, ...]:
        """The destinations that have not failed."""
        return tuple(self._left)

    def write(self, data: bytes) -> int:
        """Add to the snapshot everywhere."""
        self._each(lambda place: self._uploads[place].write(data))
        return len(data)

    def finish(self) -> Content:
        """Give the snapshot its name everywhere; return what was written."""

        def finished(place: Destination) -> Content:
            content = self._uploads[place].finish()
            self._written[place].append(self._name)
            return content

        return self._each(finished)[0]

    def give_up(self) -> None:
        """Leave nothing behind that does not count."""
        for place in self._left:
            self._drop(place)

    def _drop(self, place: Destination) -> None:
        if place in self._uploads:
            self._uploads[place].give_up()
        if place in self._counts:
            return  # Whatever happens elsewhere.
        for name in reversed(self._written[place]):
            with suppress(DestinationError):
                place.retract(name)

    def put(self, name: str, data: bytes) -> Content:
        """Write a small file everywhere; return what was written."""
        self._each(lambda place: self._write(place, name, data))
        return Content(len(data), hashlib.sha256(data).hexdigest())

    def read_back(self, name: str, written: Content) -> None:
        """Let those drop out that do not give back what was written."""

        def check(place: Destination) -> None:
            if place.content(name) != written:
                raise not_what_was_written(place, name)

        self._each(check)

    def publish(self, manifest: Manifest, signer: Signer) -> None:
        """Write the manifest, last of all, where the snapshot is."""
        content = manifest.encoded()

        def write(place: Destination) -> None:
            self._write(place, manifest.name + SIGNATURE, signer.sign(content))
            # It may be there though writing it fails; with the signature the name is this run's.
            self._written[place].append(manifest.name + MANIFEST)
            place.write(manifest.name + MANIFEST, content)
            self._counts.add(place)

        self._each(write)

    def _write(self, place: Destination, name: str, data: bytes) -> None:
        place.write(name, data)
        self._written[place].append(name)

    def _each(self, act: Callable[[Destination], T]) -> list[T]:
        """Return what came of it where it did not fail; raise the last failure when it failed everywhere."""
        done = []
        for place in self.left:
            try:
                done.append(act(place))
            except DestinationError as error:
                self._left.remove(place)
                self._drop(place)
                self.failures.append(error)
        if not self._left:
            raise self.failures[-1]
        return done
