"""Nothing that was changed after it was made is taken for a backup."""

import hashlib
import io
import itertools
import json
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from etcdplan.backup.age import decrypt, encrypt
from etcdplan.backup.catalogue import Catalogue, newest, read_catalogue
from etcdplan.backup.destination import Readable
from etcdplan.backup.directory import Directory
from etcdplan.backup.errors import BackupError, DestinationError
from etcdplan.backup.fetch import fetch
from etcdplan.backup.manifest import MANIFEST, SIGNATURE, SNAPSHOT
from etcdplan.backup.seen import see
from etcdplan.backup.signing import PublicKey, Signer, new_signing_key
from etcdplan.backup.snapshot import Content, SnapshotReader
from etcdplan.pki.keyfile import new_identity, write_identity, write_key
from tests.support.backups import ENCRYPTED, manifest

TAKEN = 1_795_482_123
NAME = "prod-20261124T010203Z-0123abcd"
CHUNK = 64 * 1024
"""Of an age file's payload (age v1), each with 16 bytes more."""


def snapshot(pages: int) -> bytes:
    database = random.Random(1).randbytes(512 * pages)
    return database + hashlib.sha256(database).digest()


def read_all(data: bytes, piece: int = 1000) -> Content:
    reader = SnapshotReader(data[at : at + piece] for at in range(0, len(data), piece))
    while reader.read(700):
        pass
    return reader.finish()


@pytest.mark.parametrize("piece", [1, 31, 32, 33, 1000, 10**6])
def test_a_whole_snapshot_is_taken_in_any_pieces(piece: int) -> None:
    data = snapshot(4)
    assert read_all(data, piece) == Content(len(data), hashlib.sha256(data).hexdigest())


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda _: b"",
    "only a hash, of nothing": lambda _: hashlib.sha256(b"").digest(),
    "no hash": lambda data: data[:-32],
    "cut off": lambda data: data[:-1],
    "a page": lambda data: data[:512],
    "two hashes": lambda data: data + data[-32:],
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_snapshot_without_a_hash_of_its_own_is_refused(damage: Callable[[bytes], bytes]) -> None:
    with pytest.raises(BackupError, match="has no SHA-256 at its end"):
        read_all(damage(snapshot(4)))


@pytest.mark.parametrize("place", [0, 700, -33, -32, -1])
def test_a_changed_snapshot_is_refused(place: int) -> None:
    data = bytearray(snapshot(4))
    data[place] ^= 4
    with pytest.raises(BackupError, match="is damaged"):
        read_all(bytes(data))


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    place = tmp_path_factory.mktemp("keys")
    identity, recipient = new_identity()
    write_identity(place / "identity", identity)
    return place / "identity", recipient


FLIPS = 10_000
"""Bits of the body; all of the header are tried."""


class Shown(Directory):
    """A directory that gives what it is told to, in the place of the snapshot."""

    content_shown = b""

    @contextmanager
    def reader(self, name: str) -> Iterator[Readable]:
        yield io.BytesIO(self.content_shown)


class Forger:
    """A backup of five chunks, and what becomes of others in its place when they are fetched."""

    def __init__(self, place: Path, identity: Path, recipient: str) -> None:
        self.identity, self.into = identity, place / "out"
        self.place = place
        self.plain = snapshot(4 * CHUNK // 512 + 1)
        self.whole = self.encrypted(self.plain, recipient)
        self.header = self.whole.index(b"\n---") + 48 + 16
        self.destination = Shown(place)
        self.manifest = manifest(
            TAKEN,
            name=NAME,
            size=len(self.plain),
            sha256=hashlib.sha256(self.plain).hexdigest(),
        )

    @staticmethod
    def encrypted(plain: bytes, *recipients: str) -> bytes:
        sink = io.BytesIO()
        encrypt(io.BytesIO(plain), sink, recipients)
        return sink.getvalue()

    @property
    def chunks(self) -> tuple[bytes, list[bytes]]:
        """What comes before the payload's chunks, and these."""
        start = len(self.whole) - len(self.plain) - 16 * -(-len(self.plain) // CHUNK)
        step = CHUNK + 16
        return self.whole[:start], [self.whole[at : at + step] for at in range(start, len(self.whole), step)]

    def refused(self, forged: bytes) -> bool:
        """Whether a fetch refuses it, and leaves nothing where the snapshot should go, nor beside it."""
        self.destination.content_shown = forged
        try:
            fetch(self.destination, self.manifest, [self.identity], self.into)
        except BackupError:
            return not any(self.place.iterdir())
        return False


@pytest.fixture
def forger(tmp_path: Path, keys: tuple[Path, str]) -> Forger:
    (tmp_path / "place").mkdir()
    return Forger(tmp_path / "place", *keys)


def test_the_backup_itself_is_taken(forger: Forger) -> None:
    assert not forger.refused(forger.whole)
    assert forger.into.read_bytes() == forger.plain
    assert len(forger.chunks[1]) == 5


def test_every_bit_of_the_header_and_ten_thousand_of_the_body_count(forger: Forger) -> None:
    body = random.Random(2).sample(range(forger.header * 8, len(forger.whole) * 8), FLIPS)
    flipped = bytearray(forger.whole)
    accepted = []
    for bit in [*range(forger.header * 8), *body]:
        flipped[bit // 8] ^= 1 << bit % 8
        if not forger.refused(bytes(flipped)):
            accepted.append(bit)
        flipped[bit // 8] ^= 1 << bit % 8
    assert bytes(flipped) == forger.whole
    assert not accepted


def test_no_cut_swap_or_addition_passes(forger: Forger, keys: tuple[Path, str]) -> None:
    before, chunks = forger.chunks
    forged = [before + b"".join(chunks[:count]) for count in range(len(chunks))]
    forged += [one + chunks[-1] for one in forged]  # A last chunk, too early.
    forged += [forger.whole[:cut] for cut in (0, 10, len(before) - 16, len(before), len(forger.whole) - 1)]
    for first, second in itertools.combinations(range(len(chunks)), 2):
        swapped = list(chunks)
        swapped[first], swapped[second] = swapped[second], swapped[first]
        forged.append(before + b"".join(swapped))
    forged += [forger.whole + more for more in (b"x", b"\0" * 16, chunks[0], chunks[-1])]
    forged.remove(forger.whole)  # All chunks but the last, and the last.
    assert forger.whole not in forged and len(forged) > 25
    assert all(map(forger.refused, forged))
    assert not forger.refused(forger.whole)


def test_no_forgery_by_another_key_passes(forger: Forger, keys: tuple[Path, str]) -> None:
    _, recipient = new_identity()
    other = snapshot(4 * CHUNK // 512 + 1)[:-32]
    # Anybody can encrypt to a recipient: whole snapshots, of the right size, and of the right size and other keys.
    content = other[:512][::-1] + other[512:]
    good = content + hashlib.sha256(content).digest()
    assert forger.refused(forger.encrypted(good, keys[1]))
    assert forger.refused(forger.encrypted(forger.plain + b"x", keys[1]))
    assert forger.refused(forger.encrypted(forger.plain, recipient))
    # One's header before another's payload.
    stranger = forger.encrypted(forger.plain, keys[1])
    assert forger.refused(stranger[: forger.header] + forger.whole[forger.header :])


def test_what_is_no_backup_never_reaches_the_library(forger: Forger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyrage.decrypt_io", lambda *_: pytest.fail("the library was called"))
    salt, mac = b"AAAAAAAAAAAAAAAAAAAAAA", b"A" * 43
    scrypt = b"age-encryption.org/v1\n-> scrypt " + salt + b" 23\n" + mac + b"\n--- " + mac + b"\n"
    for forged, why in (
        (scrypt + b"x" * 100, "encrypted with a passphrase"),
        (
            forger.whole.replace(b"\n--- ", b"\n-> scrypt " + salt + b" 30\n" + mac + b"\n--- ", 1),
            "passphrase",
        ),
        (forger.whole.replace(b"v1", b"v2", 1), "no age file of version 1"),
        (b"-----BEGIN AGE ENCRYPTED FILE-----\n", "no age file of version 1"),
        (b"age-encryption.org/v1\n" + b"-> X25519 a\nb\n" * 10_000, "no age file of version 1"),
        (b"", "no age file of version 1"),
    ):
        with pytest.raises(BackupError, match=why):
            decrypt(io.BytesIO(forged), io.BytesIO(), [forger.identity], name=NAME)


class Kept:
    """A destination with one signed backup."""

    def __init__(self, place: Path) -> None:
        key, self.public_pem = new_signing_key()
        write_key(place / "key", key)
        self.signer = Signer(place / "key")
        self.path = place / "kept"
        self.destination = Directory(self.path)
        self.put(NAME, manifest(TAKEN, name=NAME).encoded())

    def put(self, name: str, content: bytes, signature: bytes | None = None) -> None:
        self.destination.write(name + SNAPSHOT, ENCRYPTED)
        self.destination.write(name + SIGNATURE, signature or self.signer.sign(content))
        self.destination.write(name + MANIFEST, content)

    def counting(self) -> list[str]:
        trusted = [PublicKey(self.public_pem, "trusted")]
        return [one.name for one in read_catalogue(self.destination, "prod", trusted).backups]


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path)


def test_a_signed_backup_counts(kept: Kept) -> None:
    assert kept.counting() == [NAME]


def test_an_unsigned_or_changed_manifest_does_not_count(kept: Kept) -> None:
    content = (kept.path / f"{NAME}.json").read_bytes()
    for changed in (content.replace(b'"revision": 7', b'"revision": 9'), b"", b"{}", content + b" "):
        (kept.path / f"{NAME}.json").write_bytes(changed)
        assert kept.counting() == []
    (kept.path / f"{NAME}.json").write_bytes(content)
    assert kept.counting() == [NAME]
    (kept.path / f"{NAME}.sig").unlink()
    assert kept.counting() == []


def test_another_key_signs_nothing_that_counts(kept: Kept, tmp_path: Path) -> None:
    key, _ = new_signing_key()
    write_key(tmp_path / "other", key)
    content = (kept.path / f"{NAME}.json").read_bytes()
    (kept.path / f"{NAME}.sig").write_bytes(Signer(tmp_path / "other").sign(content))
    assert kept.counting() == []


def test_an_old_backup_under_a_new_name_does_not_count(kept: Kept) -> None:
    kept.put("prod-20270101T000000Z-0123abcd", (kept.path / f"{NAME}.json").read_bytes())
    assert kept.counting() == [NAME]


def test_a_backup_of_another_cluster_does_not_count(kept: Kept) -> None:
    name = "prod-20270101T000000Z-99999999"
    kept.put(name, manifest(TAKEN, name=name, cluster="prod-b").encoded())
    assert kept.counting() == [NAME]


def test_a_signed_manifest_with_unknown_or_missing_fields_does_not_count(kept: Kept) -> None:
    name = "prod-20270101T000000Z-99999999"
    fields = json.loads(manifest(TAKEN, name=name).encoded())
    kept.put(name, json.dumps({**fields, "level": "none"}).encode())
    assert kept.counting() == [NAME]
    assert (
        "cannot be read"
        in read_catalogue(kept.destination, "prod", [PublicKey(kept.public_pem, "trusted")]).distrusted[name]
    )


def test_a_manifest_without_its_snapshot_does_not_count(kept: Kept) -> None:
    (kept.path / f"{NAME}.snapshot.age").unlink()
    assert kept.counting() == []


def test_a_snapshot_that_was_cut_does_not_count(kept: Kept) -> None:
    (kept.path / f"{NAME}.snapshot.age").write_bytes(ENCRYPTED[:-1])
    assert kept.counting() == []
    said = read_catalogue(kept.destination, "prod", [PublicKey(kept.public_pem, "trusted")]).distrusted[NAME]
    assert "has 799 bytes, and 800 were written" in said


class Failing(Directory):
    """Does not give one kind of files."""

    fails = SIGNATURE

    def read(self, name: str, *, limit: int) -> bytes:
        if name.endswith(self.fails):
            raise DestinationError("The disk does not read.")
        return super().read(name, limit=limit)


@pytest.mark.parametrize("kind", [SIGNATURE, MANIFEST])
def test_what_cannot_be_read_is_neither_signed_nor_unsigned(kept: Kept, kind: str) -> None:
    place, trusted = Failing(kept.path), [PublicKey(kept.public_pem, "trusted")]
    place.fails = kind
    seen = read_catalogue(place, "prod", trusted)
    assert (seen.backups, seen.distrusted, seen.unknown) == ((), {}, {NAME: "The disk does not read."})
    with pytest.raises(DestinationError, match="does not read"):
        see(place, "prod", trusted)
    good = read_catalogue(kept.destination, "prod", trusted)
    assert newest([good, seen]) == NAME  # The other copy says it.
    older = manifest(TAKEN - 86_400)
    with pytest.raises(BackupError, match="could not be read: The disk"):
        newest([Catalogue((older,), {}), seen])


def test_a_new_file_replaces_none(kept: Kept) -> None:
    with pytest.raises(BackupError):
        kept.destination.write(NAME + MANIFEST, b"{}")
    assert kept.counting() == [NAME]
    assert not [path for path in kept.path.iterdir() if path.name.startswith(".")]
