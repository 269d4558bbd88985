"""Which backups there are: those whose manifest is there, and signed by a trusted key."""

from collections.abc import Sequence
from dataclasses import dataclass

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
    """What a destination has: backups that count, the newest first, why others do not, by name; what dead runs left."""

    backups: tuple[Manifest, ...]
    distrusted: dict[str, str]
    left_over: frozenset[str] = frozenset()


def read_catalogue(destination: Destination, cluster: str, trusted: Sequence[PublicKey]) -> Catalogue:
    """Read all manifests of a cluster; raise `DestinationError` when the destination cannot be listed."""
    found = destination.names()
    backups = []
    distrusted = {}
    for file in sorted(found):
        name = file.removesuffix(MANIFEST)
        if not file.endswith(MANIFEST) or time_of(name) is None or not name.startswith(f"{cluster}-"):
            continue
        try:
            manifest = read_manifest(destination, name, trusted)
            if name + SNAPSHOT not in found:
                raise BackupError("its snapshot is missing")
        except BackupError as error:
            distrusted[name] = error.message
            continue
        if manifest.cluster == cluster:
            backups.append(manifest)
    ordered = tuple(sorted(backups, key=lambda one: (one.time, one.name), reverse=True))
    left_over = frozenset(one for one in destination.left_over() if one.startswith(f"{cluster}-"))
    return Catalogue(ordered, distrusted, left_over)


def read_manifest(destination: Destination, name: str, trusted: Sequence[PublicKey]) -> Manifest:
    """Read one manifest; raise `BackupError` when a trusted key did not sign it."""
    content = destination.read(name + MANIFEST, limit=MAX_SIZE)
    try:
        signature = destination.read(name + SIGNATURE, limit=_SIGNATURE_SIZE)
    except DestinationError:
        signature = b""
    if not any(key.signed(content, signature) for key in trusted):
        raise BackupError(
            f"The manifest of {name} at {destination} is not signed by a trusted key.",
            hint="spec.backup.encryption.trustedKeys names the keys that may sign.",
        )
    return decode(content, name)


def forget(destination: Destination, name: str) -> None:
    """Remove a backup, its manifest first: whatever is left after an end in between does not count."""
    for kind in (MANIFEST, SIGNATURE, INCLUDE, SNAPSHOT):
        destination.delete(name + kind)
