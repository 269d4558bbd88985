"""Backups go when the policy does not keep them, and come back as they were."""

import hashlib
import io
import random
import time
from pathlib import Path

import pytest
import yaml

from etcdplan.backup.age import encrypt
from etcdplan.backup.catalogue import forget
from etcdplan.backup.directory import Directory
from etcdplan.backup.errors import DestinationError
from etcdplan.backup.manifest import MANIFEST, SIGNATURE, SNAPSHOT
from etcdplan.backup.signing import Signer
from etcdplan.cli.app import run
from tests.support.backups import manifest, with_backups

EXAMPLE = Path(__file__).parents[3] / "examples" / "three-members.yaml"
DATABASE = random.Random(3).randbytes(4096)
PLAIN = DATABASE + hashlib.sha256(DATABASE).digest()


class Bench:
    """A spec that keeps the last two, and directories with signed backups of it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        (home / "spec.yaml").write_text(EXAMPLE.read_text())
        self.spec = with_backups(home / "spec.yaml")
        document = yaml.safe_load(self.spec.read_text())
        document["spec"]["backup"]["retention"] = {"last": 2}
        self.cluster = document["metadata"]["name"]
        self.recipient = document["spec"]["backup"]["encryption"]["recipients"][0]
        self.spec.write_text(yaml.safe_dump(document))
        self.identity = ["--age-identity", str(home / "identity")]

    def put(self, age: int, place: str = "backups", *, size: int = len(PLAIN)) -> str:
        now = int(time.time()) - age
        sink = io.BytesIO()
        encrypt(io.BytesIO(PLAIN), sink, [self.recipient])
        encrypted = sink.getvalue()
        said = manifest(
            now,
            age,
            cluster=self.cluster,
            size=size,
            sha256=hashlib.sha256(PLAIN).hexdigest(),
            encrypted_size=len(encrypted),
            encrypted_sha256=hashlib.sha256(encrypted).hexdigest(),
        )
        name = said.name
        destination = Directory(self.home / place)
        destination.write(name + SNAPSHOT, encrypted)
        destination.write(name + SIGNATURE, Signer(self.home / "backup.ed25519").sign(said.encoded()))
        destination.write(name + MANIFEST, said.encoded())
        return name

    def there(self, place: str = "backups") -> set[str]:
        return (
            {path.name for path in (self.home / place).iterdir()} if (self.home / place).exists() else set()
        )


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def files(name: str) -> set[str]:
    return {name + MANIFEST, name + SIGNATURE, name + SNAPSHOT}


def test_what_the_policy_does_not_keep_goes_after_it_was_shown(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    old, middle, new = bench.put(300), bench.put(200), bench.put(100)
    before = bench.there()
    assert run(["backup", "prune", str(bench.spec)]) == 64  # Nobody is there to be asked.
    said = capsys.readouterr()
    assert f"remove  {old}\n" in said.out and f"keep    {new}  last" in said.out
    assert bench.there() == before
    assert run(["backup", "prune", str(bench.spec), "--auto-approve"]) == 0
    assert bench.there() == files(middle) | files(new)
    assert run(["backup", "prune", str(bench.spec)]) == 0
    assert "Nothing to remove." in capsys.readouterr().out


def test_what_does_not_count_is_neither_removed_nor_counted(bench: Bench) -> None:
    forged, kept = bench.put(50), [bench.put(100), bench.put(200)]
    (bench.home / "backups" / f"{forged}{SIGNATURE}").write_bytes(b"x" * 64)
    assert run(["backup", "prune", str(bench.spec), "--auto-approve"]) == 0
    assert bench.there() == files(forged) | files(kept[0]) | files(kept[1])


def test_each_destination_keeps_its_own(bench: Bench) -> None:
    first = [bench.put(age) for age in (100, 200, 300)]
    second = bench.put(400, "second")
    assert run(["backup", "prune", str(bench.spec), "--auto-approve"]) == 0
    assert bench.there() == files(first[0]) | files(first[1])
    assert bench.there("second") == files(second)


def test_without_a_retention_nothing_is_pruned(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.spec.write_text(bench.spec.read_text().replace("retention:\n      last: 2", "maxAge: 1h"))
    bench.put(100)
    assert run(["backup", "prune", str(bench.spec), "--auto-approve"]) == 1
    assert "does not say which backups are kept" in capsys.readouterr().err


def test_the_manifest_goes_first(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    name = bench.put(100)
    destination, deleted = Directory(bench.home / "backups"), 0
    delete = Directory.delete

    def dies(self: Directory, file: str) -> None:
        nonlocal deleted
        deleted += 1
        if deleted > 1:
            raise DestinationError("gone")
        delete(self, file)

    monkeypatch.setattr(Directory, "delete", dies)
    with pytest.raises(DestinationError):
        forget(destination, name)
    assert bench.there() == files(name) - {name + MANIFEST}


def test_a_backup_comes_back_whole(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = bench.put(200), bench.put(100)
    for number, wanted in enumerate(([], [old])):
        out = bench.home / f"out{number}"
        assert run(["backup", "fetch", str(bench.spec), *wanted, "-o", str(out), *bench.identity]) == 0
        assert out.read_bytes() == PLAIN and out.stat().st_mode & 0o777 == 0o600
    said = capsys.readouterr().out
    assert new in said.splitlines()[0] and old in said.splitlines()[1]


def test_no_file_is_overwritten_and_none_is_left_of_what_is_wrong(bench: Bench) -> None:
    name = bench.put(100, size=len(PLAIN) + 512)
    out = bench.home / "out"
    command = ["backup", "fetch", str(bench.spec), name, "-o", str(out)]
    before = {path.name for path in bench.home.iterdir()}
    assert run([*command, *bench.identity]) == 1  # It is not the snapshot that was signed for.
    assert run(command) == 1  # No identity.
    assert {path.name for path in bench.home.iterdir()} == before
    right = bench.put(50)
    out.write_text("mine")
    assert run(["backup", "fetch", str(bench.spec), right, "-o", str(out), *bench.identity]) == 1
    assert out.read_text() == "mine"
    assert not list(bench.home.glob(".*"))


def test_a_damaged_copy_is_passed_over_for_a_good_one(bench: Bench) -> None:
    name = bench.put(100)
    for file in files(name):
        (bench.home / "second").mkdir(exist_ok=True)
        (bench.home / "second" / file).write_bytes((bench.home / "backups" / file).read_bytes())
    snapshot = bench.home / "backups" / (name + SNAPSHOT)
    snapshot.write_bytes(snapshot.read_bytes()[:-1])
    out = bench.home / "out"
    assert run(["backup", "fetch", str(bench.spec), "-o", str(out), *bench.identity]) == 0
    assert out.read_bytes() == PLAIN
