"""What applies have left on a host is read along with the look at it, and is then what a request of its own gives."""

from pathlib import Path

import pytest

from etcdplan.apply.holder import Holder
from etcdplan.apply.journal import Journal, RunStart
from etcdplan.apply.pending import Pending, pending
from etcdplan.hosts.ports import JOURNAL_DIR, LOCK_FILE, HostUnreachable, StoreReader
from etcdplan.model.state import Host, State
from tests.support.clock import VirtualClock
from tests.unit.apply.memory_store import MemoryStore
from tests.unit.hosts.remote.conftest import TOKEN, Bench

ME = Holder.here("plan")
NEWEST = f"{JOURNAL_DIR}/00000009-b.jsonl"


def seen(bench: Bench) -> StoreReader:
    """Look, and check that this was one request that changed nothing."""
    before, requests = bench.snapshot(), len(bench.shell.verbs)
    kept = bench.host.inspect(timeout=10, kept=True).kept
    assert kept is not None
    assert bench.shell.verbs[requests:] == ["inspect"]
    assert bench.snapshot() == before
    return kept


def asked(bench: Bench) -> list[str]:
    """Return what was asked after the look."""
    return bench.shell.verbs[bench.shell.verbs.index("inspect") + 1 :]


def found(bench: Bench, kept: StoreReader | None) -> Pending:
    class Hosts:
        def host(self, _: str) -> object:
            return bench.host

    state = State({"h": Host("h")})
    return pending(Hosts(), state, ME, kept={"h": kept} if kept else {})  # type: ignore[arg-type]


def test_a_plan_asks_no_second_time(bench: Bench) -> None:
    start = RunStart("prod", TOKEN, ME, "digest", "spec", (("a", "b"),), ("h",))
    journal = Journal.start(start, MemoryStore("runner"), {"h": bench.host.store}, clock=VirtualClock())
    journal.step_intent("a")
    journal.write()
    told = found(bench, seen(bench))
    assert asked(bench) == []
    assert told == found(bench, None)
    assert told.run is not None and told.run.begun == ("a",)
    assert [held.holder.id for held in told.locks] == ["id"]


@pytest.mark.parametrize("content", [b"", b"\n", b"one\ntwo\n", bytes(range(256)) * 9])
def test_it_is_what_is_there_byte_for_byte(bench: Bench, content: bytes) -> None:
    for name in (f"{JOURNAL_DIR}/00000008-c.jsonl", NEWEST):
        bench.host.store.write(name, content)
    bench.file(f"var/lib/etcdplan/{JOURNAL_DIR}/.half", "half")
    kept = seen(bench)
    assert kept.read(LOCK_FILE) == bench.root.joinpath("var/lib/etcdplan", LOCK_FILE).read_bytes()
    assert kept.names(JOURNAL_DIR) == ("00000008-c.jsonl", "00000009-b.jsonl")
    assert kept.read(NEWEST) == content
    assert asked(bench) == []
    assert kept.read(f"{JOURNAL_DIR}/00000008-c.jsonl") == content
    assert asked(bench) == ["read"]


def test_nothing_is_there(bench: Bench) -> None:
    (bench.root / "var/lib/etcdplan" / LOCK_FILE).unlink()
    kept = seen(bench)
    assert (kept.read(LOCK_FILE), kept.names(JOURNAL_DIR)) == (None, ())
    assert asked(bench) == []


def test_nobody_asked_for_it(bench: Bench) -> None:
    assert bench.host.inspect(timeout=10).kept is None


def test_what_is_too_long_is_asked_for_by_itself(bench: Bench) -> None:
    content = b"x" * ((1 << 20) + 1)
    bench.file(f"var/lib/etcdplan/{NEWEST}", content.decode())
    kept = seen(bench)
    assert kept.read(NEWEST) == content
    assert asked(bench) == ["read"]
    bench.file(f"var/lib/etcdplan/{NEWEST}", content[1:].decode())
    assert seen(bench).read(NEWEST) == content[1:]
    assert bench.shell.verbs[-1] == "inspect"


def test_what_cannot_be_read_is_not_absent(bench: Bench) -> None:
    own = bench.root / "var/lib/etcdplan"
    own.joinpath(LOCK_FILE).unlink()
    own.joinpath(LOCK_FILE).mkdir()
    own.joinpath(JOURNAL_DIR).write_text("no directory")
    kept = seen(bench)
    for read in (lambda: kept.read(LOCK_FILE), lambda: kept.names(JOURNAL_DIR)):
        with pytest.raises(HostUnreachable):
            read()
    own.joinpath(JOURNAL_DIR).unlink()
    own.joinpath(JOURNAL_DIR).symlink_to(Path("nowhere"))
    assert seen(bench).names(JOURNAL_DIR) == bench.host.store.names(JOURNAL_DIR)
