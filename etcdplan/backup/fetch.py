"""A backup comes back: decrypted into a file of its own, or not at all."""

from collections.abc import Sequence
from pathlib import Path

from etcdplan.backup.age import decrypt
from etcdplan.backup.destination import Destination
from etcdplan.backup.directory import Directory
from etcdplan.backup.errors import BackupError
from etcdplan.backup.include import open_include, write_files
from etcdplan.backup.manifest import SNAPSHOT, Manifest
from etcdplan.backup.snapshot import Content


def fetch_any(
    copies: Sequence[tuple[Destination, Manifest]], identities: Sequence[Path], into: Path
) -> Manifest:
    """Fetch from the first of the copies, at least one, that gives what its manifest says, and return that manifest.

    Raises the first one's `BackupError` when none does.
    """
    failed: list[BackupError] = []
    for destination, manifest in copies:
        try:
            fetch(destination, manifest, identities, into)
        except BackupError as error:
            failed.append(error)
            continue
        return manifest
    raise failed[0]


def fetch_include(
    copies: Sequence[tuple[Destination, Manifest]], identities: Sequence[Path], into: Path
) -> Manifest:
    """Write the files of hosts that one of the copies has to a new directory; return its manifest.

    Raises the first one's `BackupError` when none gives what its manifest says; then there is no new directory.
    """
    failed: list[BackupError] = []
    for destination, manifest in copies:
        try:
            files = open_include(destination, manifest, identities)
        except BackupError as error:
            failed.append(error)
            continue
        write_files(files, into)
        return manifest
    raise failed[0]


def fetch(destination: Destination, manifest: Manifest, identities: Sequence[Path], into: Path) -> None:
    """Write the snapshot of a trusted manifest to a new file of mode 0600.

    Raises `BackupError` when it is not the one that the manifest names, or when the file is there; then there is no new
    file.
    """
    with (
        Directory(into.absolute().parent).upload(into.name) as upload,
        destination.reader(manifest.name + SNAPSHOT) as encrypted,
    ):
        decrypt(encrypted, upload, identities, name=f"{manifest.name} at {destination}")
        if upload.content != Content(manifest.size, manifest.sha256):
            raise BackupError(
                f"{manifest.name} at {destination} does not decrypt to the snapshot that was taken.",
                hint="Fetch it from another destination, or use another backup.",
            )
        upload.finish()
