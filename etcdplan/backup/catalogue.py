"""Which backups there are: those whose manifest is there, and signed by a trusted key."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from etcdplan.backup.destination import Destination
from etcdplan.backup.errors import BackupError, DestinationError
from etcdplan.backup.manifest import (
    INCLUDE,
    MANIFEST,
    MAX_SIZE,
    SIGNATURE,
    SNAPSHOT,
    Manifest,
    decode,
    time_of,
)
from etcdplan.backup.signing import PublicKey

_SIGNATURE_SIZE = 64


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What a destination has: backups that count, the newest first, why others do not, by name; what dead runs left.

    `unknown` is why it could not be read whether some count.
    """

    backups: tuple[Manifest, ...]
    distrusted: dict[str, str]
    unknown: dict[str, str] = field(default_factory=dict)
    left_over: frozenset[str] = frozenset()


def read_catalogue(destination: Destination, cluster: str, trusted: Sequence[PublicKey]) -> Catalogue:
    """Read all manifests of a cluster; raise `DestinationError` when the destination cannot be listed."""
    found = destination.sizes()
    backups = []
    distrusted, unknown = {}, {}
    for file in sorted(found):
        name = file.removesuffix(MANIFEST)
        if not file.endswith(MANIFEST) or time_of(name) is None or not name.startswith(f"{cluster}-"):
            continue
        try:
            manifest = read_manifest(destination, name, trusted, found)
        except DestinationError as error:
            unknown[name] = error.message
            continue
        except BackupError as error:
            distrusted[name] = error.message
            continue
        if manifest.cluster == cluster:
            backups.append(manifest)
    ordered = tuple(sorted(backups, key=lambda one: (one.time, one.name), reverse=True))
    left_over = frozenset(one for one in destination.left_over() if one.startswith(f"{cluster}-"))
    return Catalogue(ordered, distrusted, unknown, left_over)


def newest(catalogues: Iterable[Catalogue], verified: str = "") -> str:
    """Return the name of the newest backup, of those that were verified so far when there are any.

    Raises `BackupError` when there is none, or when it is not known whether there is a newer one.
    """
    catalogues = list(catalogues)
    there = [one for catalogue in catalogues for one in catalogue.backups]
    if not there:
        raise BackupError("There is no backup that counts.", hint="etcdplan backup list SPEC")
    found = max([one for one in there if one.verified == verified] or there, key=lambda one: one.time)
    known = {one.name for one in there}
    for catalogue in catalogues:
        for name, why in catalogue.unknown.items():
            if name not in known and (time_of(name) or 0) > found.time:
                raise BackupError(
                    f"Whether {name} counts, which is newer than {found.name}, could not be read: {why}",
                    hint="Make it readable, or name the backup that is meant.",
                )
    return found.name


def read_manifest(
    destination: Destination, name: str, trusted: Sequence[PublicKey], there: Mapping[str, int | None]
) -> Manifest:
    """Read one manifest. `there` are the files that the destination has, with their sizes.

    Raises `BackupError` when a trusted key did not sign it, or its snapshot is not there as a whole, and
    `DestinationError` when that cannot be read.
    """
    content = _read(destination, name + MANIFEST, MAX_SIZE, there)
    signature = _read(destination, name + SIGNATURE, _SIGNATURE_SIZE, there)
    if not any(key.signed(content, signature) for key in trusted):
        raise BackupError(
            f"The manifest of {name} at {destination} is not signed by a trusted key.",
            hint="spec.backup.encryption.trustedKeys names the keys that may sign.",
        )
    manifest = decode(content, name)
    size = there.get(name + SNAPSHOT, -1)
    if size not in (None, manifest.encrypted_size):
        what = "is missing" if size == -1 else f"has {size} bytes, and {manifest.encrypted_size} were written"
        raise BackupError(f"The snapshot of {name} at {destination} {what}.")
    return manifest


def _read(destination: Destination, file: str, limit: int, there: Mapping[str, int | None]) -> bytes:
    """Return a small file, nothing of one that is not there or too large to be what it should."""
    size = there.get(file, 0)
    return b"" if size == 0 or (size or 0) > limit else destination.read(file, limit=limit)


def forget(destination: Destination, name: str) -> None:
    """Remove a backup, its manifest first: whatever is left after an end in between does not count."""
    for kind in (MANIFEST, SIGNATURE, INCLUDE, SNAPSHOT):
        destination.delete(name + kind)
