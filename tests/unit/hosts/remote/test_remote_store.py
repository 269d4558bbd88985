"""etcdplan's own directory on a host behind a shell; the scripts run in this machine's real /bin/sh."""

import base64
import os
import random
import signal
import stat
import subprocess
import threading
from pathlib import Path

import pytest

from etcdplan.hosts.ports import HostOutcomeUnknown, HostRefused, HostUnreachable
from etcdplan.hosts.processes import wait_until
from etcdplan.hosts.remote.script import _source, size_of
from tests.unit.hosts.remote.conftest import Bench

BINARY = bytes(range(256)) * 300 + b"\0\n\xff"


def directory(bench: Bench) -> Path:
    return bench.root / "var/lib/etcdplan"


def test_what_is_written_is_read_byte_for_byte(bench: Bench) -> None:
    store = bench.host.store
    assert store.read("journal/x.jsonl") is None
    assert store.names("journal") == ()
    for content in (BINARY, b"", b"\n", b"a", b"-n\n"):
        store.write("journal/x.jsonl", content)
        assert store.read("journal/x.jsonl") == content
    store.append("journal/x.jsonl", BINARY)
    store.append("journal/y.jsonl", b"one\n")
    store.append("journal/y.jsonl", b"two\n")
    assert store.read("journal/x.jsonl") == b"-n\n" + BINARY
    assert store.read("journal/y.jsonl") == b"one\ntwo\n"
    assert store.names("journal") == ("x.jsonl", "y.jsonl")
    assert set(store.names("")) == {"journal", "lock.json"}


def test_everything_is_for_its_owner_alone(bench: Bench) -> None:
    before = os.umask(0)
    try:
        bench.host.store.write("a/b/c", b"")
        bench.host.store.append("a/d", b"x")
        bench.host.store.replace("e", None, b"x", timeout=1)
    finally:
        os.umask(before)
    for path in directory(bench).rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_replacing_compares_first(bench: Bench) -> None:
    store = bench.host.store
    assert store.replace("f", None, b"1\n", timeout=1)
    assert not store.replace("f", None, b"2", timeout=1)
    assert not store.replace("f", b"1", b"2", timeout=1)
    assert store.replace("f", b"1\n", b"2", timeout=1)
    assert store.read("f") == b"2"


def test_only_one_of_many_replaces(bench: Bench) -> None:
    won: list[int] = []

    def contend(number: int) -> None:
        if bench.host.store.replace("f", None, b"%d" % number, timeout=20):
            won.append(number)

    threads = [threading.Thread(target=contend, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert bench.host.store.read("f") == b"%d" % won[0]


def test_a_guard_that_is_held_is_waited_for_in_vain(bench: Bench) -> None:
    bench.host.store.replace("f", None, b"", timeout=1)
    guard = directory(bench) / "guard"
    with subprocess.Popen(["flock", guard, "sleep", "60"], start_new_session=True) as holder:
        assert wait_until(lambda: subprocess.run(["flock", "-n", guard, "true"]).returncode == 1, timeout=5)
        with pytest.raises(HostRefused, match="busy"):
            bench.host.store.replace("f", b"", b"x", timeout=1)
        os.killpg(holder.pid, signal.SIGKILL)
    assert bench.host.store.read("f") == b""


@pytest.mark.parametrize("name", ["../x", "/x", "a//b", ".x", "a/.x", "", "a b", "a\n", "$(x)", "-x"])
def test_names_that_are_none(bench: Bench, name: str) -> None:
    with pytest.raises(HostRefused, match="not a name"):
        bench.host.store.write(name, b"")
    assert bench.shell.verbs == ["write"]  # the lock's


def test_what_cannot_be_read_is_not_taken_as_absent(bench: Bench) -> None:
    (directory(bench) / "d").mkdir()
    with pytest.raises(HostUnreachable, match="Is a directory"):
        bench.host.store.read("d")
    (directory(bench) / "link").symlink_to("nowhere")
    with pytest.raises(HostUnreachable, match="No such file"):
        bench.host.store.read("link")
    with pytest.raises(HostUnreachable, match="not a directory"):
        bench.host.store.names("lock.json")


def test_a_greeting_is_left_out_and_a_cut_answer_is_none(bench: Bench) -> None:
    bench.shell.greeting = b"Welcome!\n\x1b[2J deadbeef content QQ==\nno line end"
    assert bench.host.store.names("") == ("lock.json",)
    bench.shell.shim("base64", "#!/bin/sh\nkill -9 $PPID\n")
    with pytest.raises(HostUnreachable, match="did not answer as expected"):
        bench.host.store.read("lock.json")
    with pytest.raises(HostOutcomeUnknown):
        bench.host.store.write("x", b"content")


def test_a_request_that_was_cut_writes_nothing(bench: Bench) -> None:
    for verb, more in (("write", ()), ("append", ()), ("replace", ("-", "1"))):
        process = bench.shell.begin(
            _source(("store",)), "nonce", verb, "x", size_of(b"whole"), *more, stdin=b""
        )
        out, _ = process.communicate(b"d2hvb", timeout=10)
        assert b"nonce refused" in out
    assert bench.host.store.names("") == ("lock.json",)


@pytest.mark.parametrize("victim", ["mktemp", "base64", "chmod", "sync", "mv", "mkdir"])
@pytest.mark.parametrize("before", [True, False])
def test_a_file_is_whole_wherever_the_script_dies(bench: Bench, victim: str, before: bool) -> None:
    """The script and all that it started are killed at each of its commands, before and behind it."""
    old, new = b"old" * 1000, b"new" * 50_000
    bench.host.store.write("f", old)
    real = subprocess.run(
        ["sh", "-c", f"command -v {victim}"], capture_output=True, text=True, check=True
    ).stdout
    die = "kill -9 0\n"
    bench.shell.shim(victim, f'#!/bin/sh\n{die if before else ""}{real.strip()} "$@"\n{die}')
    with pytest.raises(HostOutcomeUnknown):
        bench.host.store.write("f", new)
    (bench.shell.shims / victim).unlink()
    assert bench.host.store.read("f") in (old, new)
    assert bench.host.store.read("f") == old or not (before and victim == "mv")
    assert all(not name.startswith(".") for name in bench.host.store.names(""))


def test_files_are_whole_whenever_the_script_is_killed(bench: Bench) -> None:
    rng = random.Random(4)
    contents = [bytes([number]) * 200_000 for number in range(1, 16)]
    bench.host.store.write("f", contents[0])
    for content in contents:
        process = bench.shell.begin(_source(("store",)), "n", "write", "f", size_of(content), stdin=b"")
        killer = bench.shell.power_cut(process, rng.uniform(0.0, 0.03))
        process.communicate(base64.b64encode(content), timeout=10)
        killer.join()
        read = bench.host.store.read("f")
        assert read in contents


def test_an_append_that_fails_leaves_nothing(bench: Bench) -> None:
    store = bench.host.store
    store.append("j", b"one\n")
    bench.shell.shim("sync", "#!/bin/sh\necho 'sync: error syncing: No space left on device' >&2\nexit 1\n")
    with pytest.raises(HostRefused, match="its disk is full"):
        store.append("j", b"two\n")
    (bench.shell.shims / "sync").unlink()
    assert store.read("j") == b"one\n"


def test_a_full_disk(bench: Bench) -> None:
    """A file system of 64 KiB for root; an ordinary user, who can mount none, is not permitted to write."""
    store, place = bench.host.store, directory(bench)
    root = os.geteuid() == 0
    if root:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "tmpfs", place], check=True)
    try:
        store.write("f", b"old")
        store.append("d/j", b"one\n")
        if not root:
            place.chmod(0o500)
            (place / "d/j").chmod(0o400)
        for act in (
            lambda: store.write("f", b"x" * 100_000),
            lambda: store.append("d/j", b"x" * 100_000),
            lambda: store.replace("f", b"old", b"x" * 100_000, timeout=1),
        ):
            with pytest.raises(HostRefused, match="its disk is full" if root else "permission is denied"):
                act()
        assert (store.read("f"), store.read("d/j")) == (b"old", b"one\n")
        assert [path.name for path in place.iterdir() if path.name.startswith(".")] == []
    finally:
        if root:
            subprocess.run(["umount", place], check=True)
        else:
            place.chmod(0o700)
