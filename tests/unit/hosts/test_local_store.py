"""etcdplan's own directory on a host."""

import fcntl
import os
import resource
import signal
import subprocess
import time
from pathlib import Path
from threading import Event, Thread

import pytest

from etcdplan.hosts.ports import HostRefused, HostUnreachable
from etcdplan.transport.local_store import LocalStore
from tests.unit.hosts.child import in_child


@pytest.fixture
def store(root: Path) -> LocalStore:
    return LocalStore("127.64.0.1", root)


def test_reads_what_was_written(store: LocalStore) -> None:
    assert store.read("lock.json") is None
    store.write("lock.json", b"one")
    store.write("lock.json", b"two")
    store.write("journal/2026/a.jsonl", b"three")
    assert store.read("lock.json") == b"two"
    assert store.read("journal/2026/a.jsonl") == b"three"
    assert store.names("") == ("journal", "lock.json")
    assert store.names("journal/2026") == ("a.jsonl",)
    assert store.names("nothing") == ()


def test_appends(store: LocalStore) -> None:
    store.append("journal/run.jsonl", b"one\n")
    store.append("journal/run.jsonl", b"two\n")
    assert store.read("journal/run.jsonl") == b"one\ntwo\n"


def test_removes(store: LocalStore) -> None:
    store.write("record.json", b"x")
    store.remove("record.json")
    store.remove("record.json")
    assert store.read("record.json") is None


def test_everything_is_private(store: LocalStore) -> None:
    store.write("a/b", b"x")
    store.append("c/d", b"x")
    with store.exclusive(timeout=1):
        pass
    for path in (store.directory, *store.directory.rglob("*")):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path


@pytest.mark.parametrize(
    "name", ["", "/etc/passwd", "../x", "a/../../x", ".hidden", "a//b", "a/", "a b", "a\0b"]
)
def test_names_that_lead_elsewhere_are_refused(store: LocalStore, name: str) -> None:
    for use in (
        store.read,
        store.remove,
        lambda name: store.write(name, b""),
        lambda name: store.append(name, b""),
    ):
        with pytest.raises(HostRefused, match="is not a name"):
            use(name)


def test_a_host_that_is_gone_does_not_come_back(store: LocalStore, root: Path) -> None:
    store.write("lock.json", b"x")
    root.rename(root.with_name("gone"))
    for use in (
        lambda: store.read("lock.json"),
        lambda: store.names(""),
        lambda: store.write("journal/x", b""),
        lambda: store.append("journal/x", b""),
        lambda: store.exclusive(timeout=1).__enter__(),
    ):
        with pytest.raises(HostUnreachable, match=r"127\.64\.0\.1 does not answer"):
            use()
    assert not root.exists()


def test_a_host_that_vanishes_under_way_has_not_answered(
    store: LocalStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write("lock.json", b"x")
    read_bytes = Path.read_bytes

    def vanish(path: Path) -> bytes:
        root.rename(root.with_name("gone"))
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", vanish)
    with pytest.raises(HostUnreachable):
        store.read("lock.json")


@pytest.mark.parametrize(
    ("number", "words"),
    [(28, "its disk is full"), (13, "permission is denied"), (30, "file system is read-only")],
)
def test_failing_files_are_told_plainly(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    store.write("lock.json", b"before")
    store.append("journal", b"before\n")

    def fail(*_: object) -> None:
        raise OSError(number, "whatever")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(HostRefused, match=words) as refused:
            store.write("lock.json", b"after")
        with pytest.raises(HostRefused, match=words):
            store.append("journal", b"after\n")
    assert refused.value.hint
    assert store.read("lock.json") == b"before"
    assert store.read("journal") == b"before\n"
    assert sorted(os.listdir(store.directory)) == ["journal", "lock.json"]  # noqa: PTH208


def test_no_half_lines_when_there_is_room_for_no_more(store: LocalStore) -> None:
    """Real short writes: the kernel lets a process write only so far into a file."""
    store.append("journal", b"x" * 90 + b"\n")

    def write_too_much() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
        for write in (store.append, store.write):
            with pytest.raises(HostRefused, match=r"Host 127\.64\.0\.1 refused"):
                write("journal", b"y" * 200)

    assert in_child(write_too_much) == 0
    assert store.read("journal") == b"x" * 90 + b"\n"
    assert store.names("") == ("journal",)


def test_the_guard_excludes_another_holder(store: LocalStore) -> None:
    with store.exclusive(timeout=1):
        began = time.monotonic()
        with pytest.raises(HostRefused, match="busy"), store.exclusive(timeout=0.2):
            pass
        assert 0.2 <= time.monotonic() - began < 2
    with store.exclusive(timeout=0):
        pass


def test_the_guard_is_waited_for(store: LocalStore) -> None:
    inside, leave, order = Event(), Event(), []

    def first() -> None:
        with store.exclusive(timeout=5):
            inside.set()
            leave.wait(5)
            order.append("first")

    def second() -> None:
        with store.exclusive(timeout=5):
            order.append("second")

    threads = [Thread(target=first), Thread(target=second)]
    threads[0].start()
    assert inside.wait(5)
    threads[1].start()
    leave.set()
    for thread in threads:
        thread.join(10)
    assert order == ["first", "second"]


def test_a_dead_holder_lets_the_guard_go(store: LocalStore) -> None:
    def die_inside() -> None:
        with store.exclusive(timeout=1):
            os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(die_inside) == -signal.SIGKILL
    with store.exclusive(timeout=1):
        pass


def test_the_guard_is_not_inherited(store: LocalStore) -> None:
    with store.exclusive(timeout=1):
        child = subprocess.Popen(["sleep", "30"])
    try:
        descriptor = os.open(store.directory / "guard", os.O_RDWR)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(descriptor)
    finally:
        child.kill()
        child.wait(10)


def test_replacing_compares_first(store: LocalStore) -> None:
    assert store.replace("lock.json", None, b"1", timeout=1)
    assert not store.replace("lock.json", None, b"2", timeout=1)
    assert not store.replace("lock.json", b"0", b"2", timeout=1)
    assert store.read("lock.json") == b"1"
    assert store.replace("lock.json", b"1", b"2", timeout=1)
    assert store.read("lock.json") == b"2"
    with store.exclusive(timeout=1), pytest.raises(HostRefused, match="busy"):
        store.replace("lock.json", b"2", b"3", timeout=0.05)
    assert store.read("lock.json") == b"2"
