"""Nothing that was changed after it was made is taken for a backup."""

import hashlib
import io
import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from etcdplan.backup.age import decrypt, encrypt
from etcdplan.backup.catalogue import read_catalogue
from etcdplan.backup.directory import Directory
from etcdplan.backup.errors import BackupError
from etcdplan.backup.manifest import MANIFEST, SIGNATURE, SNAPSHOT
from etcdplan.backup.signing import PublicKey, Signer, new_signing_key
from etcdplan.backup.snapshot import Content, SnapshotReader
from etcdplan.pki.keyfile import new_identity, write_identity, write_key
from tests.support.backups import manifest

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


def opened(encrypted: bytes, identity: Path) -> bytes:
    sink = io.BytesIO()
    decrypt(io.BytesIO(encrypted), sink, [identity], name=NAME)
    return sink.getvalue()


def test_every_bit_of_the_header_and_many_of_the_body_count(keys: tuple[Path, str]) -> None:
    identity, recipient = keys
    plain = snapshot(4 * CHUNK // 512)
    sink = io.BytesIO()
    encrypt(io.BytesIO(plain), sink, [recipient])
    whole = sink.getvalue()
    assert opened(whole, identity) == plain
    header = whole.index(b"\n---") + 48 + 16
    body = random.Random(2).sample(range(header * 8, len(whole) * 8), 400)
    accepted = []
    for bit in [*range(header * 8), *body]:
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            opened(bytes(flipped), identity)
            accepted.append(bit)
        except BackupError:
            continue
    assert not accepted
    start = len(whole) - len(plain) - 16 * -(-len(plain) // CHUNK)
    step = CHUNK + 16
    chunks = [whole[at : at + step] for at in range(start, len(whole), step)]
    forged = [whole[: start + step * count] for count in range(len(chunks))]
    forged += [
        whole[:start] + b"".join([chunks[1], chunks[0], *chunks[2:]]),
        whole + b"x",
        whole + chunks[-1],
    ]
    for one in forged:
        with pytest.raises(BackupError):
            opened(one, identity)


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
        self.destination.write(name + SNAPSHOT, b"encrypted")
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


def test_a_new_file_replaces_none(kept: Kept) -> None:
    with pytest.raises(BackupError):
        kept.destination.write(NAME + MANIFEST, b"{}")
    assert kept.counting() == [NAME]
    assert not [path for path in kept.path.iterdir() if path.name.startswith(".")]
