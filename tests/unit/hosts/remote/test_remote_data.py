"""What an etcd left on a systemd host: read by a real shell, and by etcd's own lock never while it runs."""

import fcntl
import os
from pathlib import Path

import pytest

from etcdplan.hosts.data_copy import PIECE
from etcdplan.hosts.ports import HostRefused, HostUnreachable
from etcdplan.hosts.remote.data import RemoteData
from tests.unit.hosts.remote.conftest import SETTINGS, Bench

MEMBER = "var/lib/etcd/member"


@pytest.fixture
def data(bench: Bench) -> RemoteData:
    """What is on the disk of a host whose unit has etcd's data in /var/lib/etcd."""
    bench.host.effects.write_settings(bench.claim(), "etcd", SETTINGS)
    for name in (
        "snap/db",
        "snap/01.snap",
        "snap/db.tmp.1",
        "wal/0.wal",
        "wal/1.wal",
        "wal/2.tmp",
        "wal/a b.wal",
    ):
        bench.file(f"{MEMBER}/{name}", name)
    return RemoteData(bench.shell, bench.host.layout)


def test_all_that_counts_is_read_and_nothing_is_written(bench: Bench, data: RemoteData) -> None:
    before = bench.snapshot()
    big = os.urandom(PIECE + 100_000)
    (bench.root / MEMBER / "wal/1.wal").write_bytes(big)
    with data.stopped() as stopped:
        assert stopped.files == {"snap/01.snap": 12, "snap/db": 7, "wal/0.wal": 9, "wal/1.wal": len(big)}
        assert stopped.read("snap/db", 0) == b"snap/db"
        assert stopped.read("snap/db", 5) == b"db"
        assert stopped.read("wal/1.wal", 0) + stopped.read("wal/1.wal", PIECE) == big
    (bench.root / MEMBER / "wal/1.wal").write_bytes(b"wal/1.wal")
    assert bench.snapshot() == before


def test_a_log_that_is_elsewhere_is_the_one_that_counts(bench: Bench, data: RemoteData) -> None:
    bench.host.effects.write_settings(bench.claim(), "etcd", {**SETTINGS, "wal-dir": "/var/lib/log"})
    bench.file("var/lib/log/7.wal", "there")
    assert data.newest_segment() == ("7.wal", b"there")
    with data.stopped() as stopped:
        assert set(stopped.files) == {"snap/01.snap", "snap/db", "wal/7.wal"}
        assert stopped.read("wal/7.wal", 0) == b"there"


@pytest.mark.parametrize("used", [0, 1, 65_535, 65_536, 65_537, 1_000_000, 4_000_000])
def test_of_the_newest_segment_what_is_not_written_yet_is_left_out(
    bench: Bench, data: RemoteData, used: int
) -> None:
    content = b"x" * used
    (bench.root / MEMBER / "wal/1.wal").write_bytes(content + bytes(4_000_000 - used))
    found = data.newest_segment()
    assert found is not None and found[0] == "1.wal"
    assert found[1].rstrip(b"\0") == content
    assert len(found[1]) < used + 65_536


def test_nothing_is_read_while_an_etcd_has_it_open(bench: Bench, data: RemoteData) -> None:
    handle = os.open(bench.root / MEMBER / "snap/db", os.O_RDWR)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(HostRefused, match="An etcd runs on the data"), data.stopped():
        pass
    fcntl.flock(handle, fcntl.LOCK_UN)
    with data.stopped() as stopped:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(HostRefused, match="An etcd runs on the data"):
            stopped.read("snap/db", 0)
        os.close(handle)


def test_what_changes_meanwhile_is_no_copy(bench: Bench, data: RemoteData) -> None:
    path = bench.root / MEMBER / "wal/0.wal"
    with pytest.raises(HostRefused, match="changed while they were copied"), data.stopped():
        path.write_bytes(b"wal/0.waL")


def test_what_is_not_there_is_said(bench: Bench) -> None:
    data = RemoteData(bench.shell, bench.host.layout)
    assert data.newest_segment() is None
    with pytest.raises(HostRefused, match="has no database"), data.stopped():
        pass


@pytest.mark.parametrize("name", ["snap/db", "wal/1.wal"])
def test_links_are_not_followed(bench: Bench, data: RemoteData, tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    path = bench.root / MEMBER / name
    with pytest.raises(HostRefused), data.stopped() as stopped:
        path.unlink()
        path.symlink_to(tmp_path / "secret")
        assert b"secret" not in stopped.read(name, 0)
    found = data.newest_segment()
    assert found is not None and found[1] != b"secret"


def test_a_host_that_does_not_answer_is_said_to_be_that(bench: Bench, data: RemoteData) -> None:
    bench.shell.drop = lambda verb: verb in ("segment", "stopped")
    with pytest.raises(HostUnreachable):
        data.newest_segment()
    with pytest.raises(HostUnreachable), data.stopped():
        pass
