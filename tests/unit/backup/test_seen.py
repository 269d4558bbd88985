"""What is seen of destinations: the newest that count, in bounded time, and what does not answer is unknown."""

import threading
import time
from pathlib import Path

import pytest

from etcdplan.backup.directory import Directory
from etcdplan.backup.errors import DestinationError
from etcdplan.backup.manifest import MANIFEST, SIGNATURE, SNAPSHOT, Manifest
from etcdplan.backup.seen import Watch, see
from etcdplan.backup.signing import PublicKey, Signer, new_signing_key
from etcdplan.cli.backup import copies_of
from etcdplan.model.backups import Store, newest_of
from etcdplan.model.facts import known
from etcdplan.model.state import State
from etcdplan.pki.keyfile import write_key
from etcdplan.spec.load import load_spec
from etcdplan.steps.take_backup import TakeBackup
from tests.support.backups import ENCRYPTED, manifest
from tests.unit.spec.test_spec_backup import spec_with

NOW = 1_800_000_000


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    key, _ = new_signing_key()
    write_key(tmp_path / "key", key)
    return Signer(tmp_path / "key")


@pytest.fixture
def trusted(signer: Signer) -> list[PublicKey]:
    return [signer.public]


@pytest.fixture
def place(tmp_path: Path) -> Directory:
    return Directory(tmp_path / "backups")


def put(place: Directory, signer: Signer, one: Manifest) -> None:
    place.write(one.name + SNAPSHOT, ENCRYPTED)
    place.write(one.name + SIGNATURE, signer.sign(one.encoded()))
    place.write(one.name + MANIFEST, one.encoded())


def test_manifests_are_read_until_one_was_restored(
    place: Directory, signer: Signer, trusted: list[PublicKey]
) -> None:
    for hour in range(6):
        put(place, signer, manifest(NOW - hour * 3600, verified="restore" if hour in (2, 4) else "checksum"))
    put(place, signer, manifest(NOW, 9, cluster="prod-2"))
    seen = see(place, "prod", trusted, now=NOW)
    assert [(one.time, one.verified) for one in seen.backups] == [
        (NOW, "checksum"),
        (NOW - 3600, "checksum"),
        (NOW - 7200, "restore"),
    ]
    assert seen.times == tuple(NOW - hour * 3600 for hour in range(6))
    assert seen.backups[0].cluster_id == 0x1F
    assert not seen.distrusted


def test_one_from_the_future_counts_for_nothing_and_hides_no_other(
    place: Directory, signer: Signer, trusted: list[PublicKey]
) -> None:
    put(place, signer, manifest(NOW + 86_400, verified="restore"))
    put(place, signer, manifest(NOW - 60, verified="restore"))
    stores = {"a": known(see(place, "prod", trusted, now=NOW))}
    _, newest = newest_of(stores, ("a",), 0x1F, restored=True, now=NOW) or ("", None)
    assert newest is not None and newest.time == NOW - 60
    assert TakeBackup(0x1F, ("a",), "restore", 3600).effects(State({}, backups=stores, now=NOW)) == ()


def test_fewer_manifests_are_read_where_none_has_to_be_restored(
    place: Directory, signer: Signer, trusted: list[PublicKey]
) -> None:
    for hour in range(4):
        put(place, signer, manifest(NOW - hour * 3600))
    assert len(see(place, "prod", trusted, now=NOW).backups) == 4
    assert len(see(place, "prod", trusted, now=NOW, restored=False).backups) == 1


def test_a_destination_that_cannot_be_read_does_not_keep_the_others_from_a_restore(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = load_spec(spec_with(tmp_path, "second"))
    (tmp_path / "second").write_text("no directory")
    one = manifest(NOW, cluster="three-members")
    put(Directory(tmp_path / "backups"), Signer(tmp_path / "backup.ed25519"), one)
    assert [copy for _, copy in copies_of(spec, None)] == [one]
    assert f"Not looked at: The backup directory {tmp_path / 'second'} could" in capsys.readouterr().err
    (tmp_path / "backups").rename(tmp_path / "gone")
    (tmp_path / "backups").write_text("no directory either")
    with pytest.raises(DestinationError):
        copies_of(spec, None)


def test_nothing_rests_on_what_was_got_without_quorum(
    place: Directory, signer: Signer, trusted: list[PublicKey]
) -> None:
    origin = {"kind": "survivor", "index": 7, "last": 9}
    put(place, signer, manifest(NOW, verified="restore", origin=origin))
    put(place, signer, manifest(NOW - 60, verified="restore"))
    seen = see(place, "prod", trusted, now=NOW)
    assert [one.whole for one in seen.backups] == [False, True]
    newest = seen.newest(0x1F, restored=True)
    assert newest is not None and newest.time == NOW - 60


def test_what_does_not_count_is_passed_over_and_told_of_when_it_is_the_newest(
    tmp_path: Path, place: Directory, signer: Signer, trusted: list[PublicKey]
) -> None:
    other, _ = new_signing_key()
    write_key(tmp_path / "other", other)
    put(place, signer, manifest(NOW - 7200, verified="restore"))
    put(place, Signer(tmp_path / "other"), manifest(NOW - 3600, verified="restore"))
    put(place, signer, manifest(NOW))
    place.delete(manifest(NOW).name + SNAPSHOT)
    seen = see(place, "prod", trusted, now=NOW)
    assert [one.time for one in seen.backups] == [NOW - 7200]
    assert "is missing" in seen.distrusted
    place.delete(manifest(NOW).name + MANIFEST)
    assert "not signed by a trusted key" in see(place, "prod", trusted, now=NOW).distrusted


def test_a_destination_that_hangs_or_fails_is_unknown_and_nobody_waits_longer(
    place: Directory, signer: Signer, trusted: list[PublicKey]
) -> None:
    put(place, signer, manifest(NOW, verified="restore"))
    forever = threading.Event()

    def hang() -> Store:
        forever.wait(60)
        return Store()

    def fail() -> Store:
        raise DestinationError("The bucket refuses.")

    watch = Watch({"good": lambda: see(place, "prod", trusted, now=NOW), "hung": hang, "bad": fail})
    began = time.monotonic()
    seen = watch.begin(0.3, glance=False)()
    assert 0.3 <= time.monotonic() - began < 2
    assert seen["good"].value is not None
    assert (seen["hung"].why, seen["bad"].why) == ("no answer within 0.3 s", "The bucket refuses.")
    forever.set()


def test_a_glance_looks_again_only_after_a_backup_was_taken() -> None:
    looks: list[int] = []

    def look() -> Store:
        looks.append(1)
        return Store(times=(len(looks),))

    watch = Watch({"a": look})
    assert watch.begin(1, glance=True)()["a"].value == Store(times=(1,))
    assert watch.begin(1, glance=True)()["a"].value == Store(times=(1,))
    watch.renew("x")
    assert watch.begin(1, glance=True)()["a"].value == Store(times=(2,))
    assert watch.begin(1, glance=False)()["a"].value == Store(times=(3,))


def test_one_that_this_run_took_is_as_old_as_its_end(
    place: Directory, signer: Signer, trusted: list[PublicKey]
) -> None:
    now = int(time.time())
    one = manifest(now - 7200, verified="restore")
    put(place, signer, one)
    watch = Watch({"a": lambda: see(place, "prod", trusted)})
    step = TakeBackup(0x1F, ("a",), "restore", 3600)

    def due(after: int = 0) -> bool:
        stores = watch.begin(5, glance=False)()
        return bool(step.effects(State({}, backups=stores, now=now + after)))

    assert due()
    watch.renew(one.name)
    assert not due() and due(3700)


def test_what_a_restore_replaced_is_not_what_the_next_one_takes_unless_it_is_named(tmp_path: Path) -> None:
    """The last backup that a restore takes is not restored on trial: it may hold the very mistake."""
    spec = load_spec(spec_with(tmp_path, "second"))
    place, signer = Directory(tmp_path / "backups"), Signer(tmp_path / "backup.ed25519")
    tried, last = (
        manifest(NOW + number, number, cluster="three-members", verified=verified)
        for number, verified in enumerate(("restore", "checksum"))
    )
    put(place, signer, last)
    assert copies_of(spec, None)[0][1] == last
    put(place, signer, tried)
    assert copies_of(spec, None)[0][1] == tried
    assert copies_of(spec, last.name)[0][1] == last
