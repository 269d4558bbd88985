"""Whose data is in a directory. What real etcds write is checked in tests/integration."""

import contextlib
from pathlib import Path

import pytest

from etcdplan.hosts.data_dir import adopt, read_data, read_staged, set_aside, stage
from etcdplan.model.state import Data


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def record(kind: int, data: bytes = b"") -> bytes:
    body = b"\x08" + varint(kind) + b"\x10" + varint(0x12345678)
    if data:
        body += b"\x1a" + varint(len(data)) + data
    padding = -len(body) % 8
    frame = len(body) | (((0x80 | padding) << 56) if padding else 0)
    return frame.to_bytes(8, "little") + body + b"\0" * padding


def segment(cluster: int, member: int) -> bytes:
    metadata = b"\x08" + varint(member) + b"\x10" + varint(cluster)
    return record(4) + record(1, metadata) + record(5, b"\x08\x00\x10\x00") + b"\0" * 8192


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "etcd"


def write(path: Path, content: bytes = b"x") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


@pytest.mark.parametrize("wal", ["member/wal", "../wal"])
def test_the_identity_is_in_the_log(data_dir: Path, wal: str) -> None:
    write(data_dir / wal / "0000000000000000-0000000000000000.wal", segment(2**64 - 1, 0xCAFE))
    separate = (data_dir / wal) if wal.startswith("..") else None
    data_dir.mkdir(exist_ok=True)
    assert read_data(data_dir, separate) == Data(2**64 - 1, 0xCAFE)


def test_one_good_segment_is_enough(data_dir: Path) -> None:
    write(data_dir / "member/wal/0.wal", segment(1, 2))
    write(data_dir / "member/wal/1.wal", b"")
    write(data_dir / "member/wal/2.wal", b"\xff" * 100)
    assert read_data(data_dir, None) == Data(1, 2)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 4096,
        b"\xff" * 4096,
        b"not a log at all, but long enough to be taken for one",
        segment(1, 2)[:20],
        record(4) + record(2, b"\x08\x02\x10\x01"),
        record(4) + record(1, b"\x08\x02"),
        record(4) + record(1, b"\x08\x00\x10\x00"),
        record(1, b"\x08\x02\x10\x01") * 2,
        (1 << 55).to_bytes(8, "little") + b"\0" * 100,
        record(4) + record(1, b"\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80"),
    ],
)
def test_a_damaged_log_is_data_of_nobody(data_dir: Path, content: bytes) -> None:
    write(data_dir / "member/wal/0.wal", content)
    data = read_data(data_dir, None)
    assert data is not None
    assert (data.cluster_id, data.member_id) == (0, 0)
    assert "damaged write-ahead log" in data.foreign


@pytest.mark.parametrize(
    "files",
    [
        (),
        ("lost+found/x",),
        ("member/snap/db",),
        ("member/wal.tmp/0.wal",),
        ("member/wal/0.tmp",),
        ("set-aside-1/x",),
    ],
)
def test_what_etcd_may_start_on_is_no_data(data_dir: Path, files: tuple[str, ...]) -> None:
    for name in files:
        write(data_dir / name)
    assert read_data(data_dir, None) is None


def test_foreign_files_are_named(data_dir: Path) -> None:
    for name in ("base/1", "pg_wal/2", "PG_VERSION", "postgresql.conf", "set-aside-1/x"):
        write(data_dir / name)
    data = read_data(data_dir, None)
    assert data is not None
    assert data.foreign == f"PG_VERSION, base, pg_wal and 1 more in {data_dir}"


def test_foreign_files_where_the_log_would_go_are_named(data_dir: Path, tmp_path: Path) -> None:
    data_dir.mkdir()
    wal = tmp_path / "wal"
    assert read_data(data_dir, wal) is None
    write(wal / "letters.txt")
    data = read_data(data_dir, wal)
    assert data is not None
    assert "letters.txt" in data.foreign


def test_what_etcd_writes_for_a_moment_when_it_starts_is_not_foreign(data_dir: Path, tmp_path: Path) -> None:
    write(data_dir / ".touch")
    write(tmp_path / "wal/.touch")
    assert read_data(data_dir, None) is None
    assert read_data(data_dir, tmp_path / "wal") is None


def test_a_path_that_is_no_directory_is_an_error(data_dir: Path) -> None:
    write(data_dir)
    with pytest.raises(NotADirectoryError):
        read_data(data_dir, None)


def test_setting_aside_keeps_everything(data_dir: Path) -> None:
    write(data_dir / "member/wal/0.wal", segment(1, 2))
    write(data_dir / "member/snap/db", b"db")
    write(data_dir / "lost+found/x")
    set_aside(data_dir, None)
    assert read_data(data_dir, None) is None
    write(data_dir / "member/wal/0.wal", segment(1, 3))
    set_aside(data_dir, None)
    set_aside(data_dir, None)
    assert read_data(data_dir, None) is None
    kept = sorted(data_dir.glob("set-aside-*/member/wal/0.wal"))
    assert [path.read_bytes() for path in kept] == [segment(1, 2), segment(1, 3)]
    assert [path.read_bytes() for path in data_dir.glob("set-aside-*/member/snap/db")] == [b"db"]
    assert (data_dir / "lost+found/x").exists()


def test_a_separate_log_is_set_aside_beside_its_directory(data_dir: Path, tmp_path: Path) -> None:
    wal = tmp_path / "wal"
    write(data_dir / "member/snap/db", b"db")
    write(wal / "0.wal", segment(1, 2))
    set_aside(data_dir, wal)
    assert read_data(data_dir, wal) is None
    assert not wal.exists(), "making a log, etcd would remove what is in it"
    assert [path.read_bytes() for path in tmp_path.glob("wal.set-aside-*/0.wal")] == [segment(1, 2)]
    assert [path.read_bytes() for path in data_dir.glob("set-aside-*/member/snap/db")] == [b"db"]


def test_half_set_aside_counts_as_data(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The identity goes last: a cut in between leaves what is seen as it was."""
    wal = tmp_path / "wal"
    write(data_dir / "member/snap/db", b"db")
    write(wal / "0.wal", segment(1, 2))
    rename = Path.rename

    def power_cut(path: Path, target: Path) -> Path:
        if path == wal:
            raise KeyboardInterrupt
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", power_cut)
        with pytest.raises(KeyboardInterrupt):
            set_aside(data_dir, wal)
    assert read_data(data_dir, wal) == Data(1, 2)
    set_aside(data_dir, wal)
    assert read_data(data_dir, wal) is None


def test_nothing_to_set_aside(data_dir: Path) -> None:
    set_aside(data_dir, None)
    assert not data_dir.exists()


@pytest.fixture(params=["", "wal"])
def waiting(data_dir: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Path | None:
    """Restored data that wait for their place; return where their log goes, if that is elsewhere."""
    wal = tmp_path / request.param if request.param else None
    write(tmp_path / "made/member/snap/db", b"restored")
    write(tmp_path / "made/member/wal/0.wal", segment(1, 2))
    data_dir.mkdir(exist_ok=True)
    stage(data_dir, wal, tmp_path / "made")
    return wal


def test_what_counts_as_no_data_makes_room(data_dir: Path, waiting: Path | None) -> None:
    write(data_dir / "member/snap/db", b"left")
    if waiting is not None:
        write(waiting / ".touch", b"")
    adopt(data_dir, waiting)
    assert read_data(data_dir, waiting) == Data(1, 2)
    assert (data_dir / "member/snap/db").read_bytes() == b"restored"
    assert [path.read_bytes() for path in data_dir.glob("set-aside-*/member/snap/db")] == [b"left"]


def test_data_make_no_room(data_dir: Path, waiting: Path | None) -> None:
    write((waiting or data_dir / "member/wal") / "0.wal", segment(3, 4))
    with pytest.raises(FileExistsError, match="in the way"):
        adopt(data_dir, waiting)
    assert read_data(data_dir, waiting) == Data(3, 4)
    assert read_staged(data_dir, waiting) == Data(1, 2)


def test_half_adopted_is_not_set_aside(
    data_dir: Path, tmp_path: Path, waiting: Path | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def power_cut(path: Path, target: Path) -> Path:
        if path.name.startswith("wal.staged"):
            raise KeyboardInterrupt
        return rename(path, target)

    with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
        patch.setattr(Path, "rename", power_cut)
        adopt(data_dir, waiting)
    if waiting is not None:
        assert (read_data(data_dir, waiting), read_staged(data_dir, waiting)) == (None, Data(1, 2))
        adopt(data_dir, waiting)
    assert read_data(data_dir, waiting) == Data(1, 2)
    assert [path.name for path in data_dir.iterdir()] == ["member"]
