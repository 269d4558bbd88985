"""What an etcd left on a disk is read, and never while one has it open."""

import fcntl
import os
from pathlib import Path

import pytest

from etcdplan.hosts.data_copy import LocalData, is_data_file
from etcdplan.hosts.ports import HostRefused


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """Return a data directory as an etcd leaves it, with what is no use."""
    for name in (
        "snap/db",
        "snap/0001.snap",
        "wal/0.wal",
        "wal/1.wal",
        "wal/2.tmp",
        "snap/db.tmp.1",
        "wal/x/y.wal",
    ):
        path = tmp_path / "member" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return tmp_path


def test_all_that_counts_is_read(left: Path) -> None:
    with LocalData("h", left, None).stopped() as data:
        assert data.files == {"snap/0001.snap": 14, "snap/db": 7, "wal/0.wal": 9, "wal/1.wal": 9}
        assert data.read("snap/db", 0) == b"snap/db"
        assert data.read("snap/db", 5) == b"db"
    assert LocalData("h", left, None).newest_segment() == ("1.wal", b"wal/1.wal")


def test_a_log_that_is_elsewhere_is_the_one_that_counts(left: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "log"
    elsewhere.mkdir()
    (elsewhere / "7.wal").write_bytes(b"there")
    data = LocalData("h", left, elsewhere)
    assert data.newest_segment() == ("7.wal", b"there")
    with data.stopped() as stopped:
        assert set(stopped.files) == {"snap/0001.snap", "snap/db", "wal/7.wal"}


def test_nothing_is_copied_while_an_etcd_has_it_open(left: Path) -> None:
    handle = os.open(left / "member/snap/db", os.O_RDWR)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with (
        pytest.raises(HostRefused, match="An etcd runs on the data of host h"),
        LocalData("h", left, None).stopped(),
    ):
        pass
    os.close(handle)


def test_no_etcd_can_start_on_it_meanwhile(left: Path) -> None:
    with LocalData("h", left, None).stopped():
        handle = os.open(left / "member/snap/db", os.O_RDWR)
        with pytest.raises(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(handle)


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    data = LocalData("h", tmp_path, None)
    assert data.newest_segment() is None
    with pytest.raises(HostRefused, match="has no database"), data.stopped():
        pass


def test_a_link_in_the_place_of_the_database_is_not_followed(left: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"x")
    (left / "member/snap/db").unlink()
    (left / "member/snap/db").symlink_to(tmp_path / "secret")
    with pytest.raises(HostRefused, match="cannot be read"), LocalData("h", left, None).stopped():
        pass


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("db", True),
        ("0000000000000003-000000000001b2a4.snap", True),
        ("000000000001b2a4.snap.db", True),
        ("0000000000000001-0000000000000064.wal", True),
        ("0000000000000001-0000000000000064.wal.broken", False),
        ("0.tmp", False),
        ("db.tmp.123", False),
        (".touch", False),
        ("a b.wal", False),
        ("x\n.wal", False),
    ],
)
def test_which_files_count(name: str, counts: bool) -> None:
    assert is_data_file(name) is counts
