"""A member that has a snapshot, and a spec with a directory and one more destination to take it to."""

import hashlib
import random
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from etcdplan.backup.catalogue import read_catalogue
from etcdplan.backup.destination import Destination
from etcdplan.backup.directory import Directory
from etcdplan.backup.include import Parcel
from etcdplan.backup.signing import PublicKey, Signer
from etcdplan.backup.take import Proof, Source, Taken, take_backup
from etcdplan.cli.app import run
from tests.support.backups import with_backups

EXAMPLE = Path(__file__).parents[2] / "examples" / "three-members.yaml"
PIECES = 20
"""Of 1 MiB: three parts of an upload."""


class Bench:
    """A spec whose backups go to `backups` and to `url`, and a member; none of etcd's programs is needed."""

    def __init__(self, home: Path, url: str) -> None:
        self.home, self.url = home, url
        (home / "spec.yaml").write_text(EXAMPLE.read_text())
        self.spec = with_backups(home / "spec.yaml")
        document = yaml.safe_load(self.spec.read_text())
        self.cluster = document["metadata"]["name"]
        self.recipient = document["spec"]["backup"]["encryption"]["recipients"][0]
        document["spec"]["backup"]["destinations"] = ["backups", url]
        self.spec.write_text(yaml.safe_dump(document))
        self.key = PublicKey((home / "backup.ed25519.pub").read_bytes(), "key")
        self.directory = Directory(home / "backups")
        self.now = 1_800_000_000

    def take(self, *places: Destination, midway: Any = lambda: None, parcel: Parcel | None = None) -> Taken:
        """Take a backup to these; `midway` is called when three quarters of the snapshot have been read."""
        self.now += 60
        member: Any = SimpleNamespace(
            status=lambda timeout: SimpleNamespace(
                version="3.6.16", cluster_id=1, db_size=PIECES << 20, db_size_in_use=1 << 40
            ),
            linearizable_read=lambda timeout: 7,
            snapshot=lambda stall: self.snapshot(midway),
        )
        source = Source(self.cluster, "m1", member)
        signer = Signer(self.home / "backup.ed25519")
        return take_backup(
            source, places, [self.recipient], signer, Proof("checksum"), now=self.now, parcel=parcel
        )

    def snapshot(self, midway: Any) -> Iterator[bytes]:
        """Yield the pieces of the snapshot, which is always the same."""
        database = hashlib.sha256()
        for number in range(PIECES):
            if number == PIECES * 3 // 4:
                midway()
            piece = random.Random(number).randbytes(1 << 20)
            database.update(piece)
            yield piece
        yield database.digest()

    def comes_back(self, name: str, capsys: pytest.CaptureFixture[str]) -> None:
        """Check that the backup is listed in both places, and comes whole from the one that is no directory."""
        assert run(["backup", "list", str(self.spec)]) == 0
        said = capsys.readouterr().out
        assert said.count(name) == 2 and self.url in said
        for file in self.directory.path.iterdir():
            file.unlink()
        out = self.home / "out"
        identity = ["--age-identity", str(self.home / "identity")]
        assert run(["backup", "fetch", str(self.spec), "-o", str(out), *identity]) == 0
        assert out.read_bytes() == b"".join(self.snapshot(lambda: None))

    def counting(self, place: Destination) -> list[str]:
        """Return the backups that count there, the newest first."""
        return [one.name for one in read_catalogue(place, self.cluster, [self.key]).backups]
