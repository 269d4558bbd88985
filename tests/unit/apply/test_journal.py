"""The journal: what is written where, what a crash or damage leaves, and which run was the last."""

import errno
import hashlib
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etcdplan.apply.holder import Holder
from etcdplan.apply.journal import Journal, JournalDamaged, RunnerFiles, RunStart, read_journal
from etcdplan.apply.runs import latest_run, prune
from etcdplan.errors import StoppedError
from etcdplan.pki.secret import Secret
from tests.support.clock import VirtualClock
from tests.unit.apply.memory_store import MemoryStore

GROUPS = (("remove/member1",), ("add/member4", "start/member4"))


def run_start(token: int = 7) -> RunStart:
    holder = Holder(f"{token:016x}", "runner", "ops", 1, 2, "boot", "pid:[1]", "etcdplan apply")
    return RunStart("prod", token, holder, "plan-digest", "spec-digest", GROUPS, ("h1", "h2", "h3"))


def hosts(count: int = 3) -> dict[str, MemoryStore]:
    return {f"h{n}": MemoryStore(f"h{n}") for n in range(1, count + 1)}


def start(mirrors: dict[str, MemoryStore], token: int = 7, runner: Any = None) -> Journal:
    return Journal.start(run_start(token), runner or MemoryStore("runner"), mirrors, clock=VirtualClock())


def whole_run(journal: Journal) -> None:
    journal.step_intent("add/member4")
    journal.effect_intent("e1", "member_add", "h4")
    journal.effect_result("e1", "done")
    journal.step_done("add/member4")
    journal.run_ended(converged=True)


def content_of(store: MemoryStore, token: int = 7) -> bytes:
    return store.files[f"journal/{run_start(token).run}.jsonl"]


def sample() -> bytes:
    store = MemoryStore("h1")
    whole_run(start({"h1": store}))
    return content_of(store)


SAMPLE = sample()


def test_a_run_is_told_on_the_runner_and_on_every_host() -> None:
    mirrors, runner = hosts(), MemoryStore("runner")
    whole_run(start(mirrors, runner=runner))
    contents = {content_of(store) for store in mirrors.values()}
    assert contents == {runner.files[f"prod/{run_start().run}.jsonl"]}
    view = read_journal(contents.pop())
    assert not view.torn
    assert [(r.seq, r.type, dict(r.body)) for r in view.records[1:]] == [
        (1, "step-intent", {"step": "add/member4"}),
        (2, "effect-intent", {"effect": "e1", "kind": "member_add", "subject": "h4"}),
        (3, "effect-result", {"effect": "e1", "outcome": "done", "detail": ""}),
        (4, "step-done", {"step": "add/member4"}),
        (5, "run-ended", {"converged": True}),
    ]
    first = view.records[0]
    assert (first.type, first.time, first.body["token"]) == ("run-started", "2026-01-01T00:00:00Z", 7)
    assert first.body["groups"] == [list(group) for group in GROUPS]


def test_what_announces_is_written_at_once_and_what_went_well_along_with_it() -> None:
    """An effect costs one write to each host; what did not go well, and an end, wait for nothing."""
    store, runner = MemoryStore("h1"), MemoryStore("runner")
    calls: list[str] = []
    store.called = calls.append
    journal = start({"h1": store}, runner=runner)
    journal.step_intent("a")
    assert calls == ["write"]
    journal.effect_intent("e1", "start", "h1")
    journal.effect_result("e1", "done")
    journal.step_done("a")
    journal.step_intent("b")
    assert [r.type for r in read_journal(content_of(store)).records][1:] == ["step-intent", "effect-intent"]
    journal.effect_intent("e2", "start", "h1")
    assert calls == ["write"] * 3
    journal.effect_result("e2", "unknown")
    assert calls == ["write"] * 4
    journal.step_done("b")
    journal.write()
    journal.write()
    assert calls == ["write"] * 5
    journal.run_ended(converged=True)
    records = read_journal(content_of(store)).records
    assert [r.type for r in records][3:6] == ["effect-result", "step-done", "step-intent"]
    assert [r.type for r in records][-3:] == ["effect-result", "step-done", "run-ended"]
    assert content_of(store) == runner.files[f"prod/{run_start().run}.jsonl"]


def test_the_format_of_a_line_stays() -> None:
    """Another version must be able to read it: fields, order and hash are a contract."""
    journal = Journal("r", "c", (runner := MemoryStore("runner")), {}, clock=VirtualClock())
    journal.step_intent("s")
    journal.write()
    fields = (
        b'{"seq":0,"time":"2026-01-01T00:00:00Z","type":"step-intent","body":{"step":"s"},"previous":"%s"}'
    )
    fields %= b"0" * 64
    digest = hashlib.sha256(fields).hexdigest().encode()
    assert runner.files["c/r.jsonl"] == fields[:-1] + b',"hash":"%s"}\n' % digest


def test_hosts_can_be_written_at_once() -> None:
    mirrors = hosts()
    with ThreadPoolExecutor(3) as pool:
        journal = Journal.start(
            run_start(), MemoryStore("runner"), mirrors, clock=VirtualClock(), each=pool.map
        )
        whole_run(journal)
    assert {content_of(store) for store in mirrors.values()} == {SAMPLE}


@given(st.integers(0, len(SAMPLE)))
def test_any_truncation_is_a_prefix(length: int) -> None:
    whole, part = read_journal(SAMPLE).records, read_journal(SAMPLE[:length])
    assert part.records == whole[: SAMPLE[:length].count(b"\n")]
    assert part.torn is not (length == 0 or SAMPLE[length - 1 : length] == b"\n")


@given(st.integers(0, len(SAMPLE) - 2), st.integers(1, 255))
def test_any_changed_byte_is_found_at_its_line(position: int, mask: int) -> None:
    damaged = bytearray(SAMPLE)
    damaged[position] ^= mask
    line = SAMPLE[:position].count(b"\n") + 1
    with pytest.raises(JournalDamaged, match=f"^Line {line} of the journal is damaged"):
        read_journal(bytes(damaged))


@given(st.data())
def test_lines_cannot_be_taken_moved_or_repeated(data: st.DataObject) -> None:
    lines = SAMPLE.splitlines(keepends=True)
    one, other = data.draw(st.sampled_from([(a, b) for a in range(6) for b in range(6) if a != b]))
    swapped, repeated = lines.copy(), lines.copy()
    swapped[one], swapped[other] = lines[other], lines[one]
    repeated.insert(other, lines[one])
    cases = [swapped, repeated]
    if one < len(lines) - 1:
        cases.append(lines[:one] + lines[one + 1 :])
    for case in cases:
        with pytest.raises(JournalDamaged, match=r"does not follow|damaged"):
            read_journal(b"".join(case))


def test_a_forged_line_with_its_own_hash_breaks_the_chain() -> None:
    lines = SAMPLE.splitlines(keepends=True)
    fields, _, _ = lines[1].replace(b"add/member4", b"add/member5").rpartition(b',"hash":')
    digest = hashlib.sha256(fields + b"}").hexdigest().encode()
    forged = fields + b',"hash":"%s"}\n' % digest
    read_journal(lines[0] + forged)
    with pytest.raises(JournalDamaged, match="Line 3 of the journal does not follow"):
        read_journal(lines[0] + forged + b"".join(lines[2:]))


def test_a_journal_begins_at_its_beginning() -> None:
    fields, _, _ = SAMPLE.splitlines()[0].replace(b'{"seq":0', b'{"seq":1').rpartition(b',"hash":')
    digest = hashlib.sha256(fields + b"}").hexdigest().encode()
    with pytest.raises(JournalDamaged, match="Line 1 of the journal does not follow"):
        read_journal(fields + b',"hash":"%s"}\n' % digest)


@pytest.mark.parametrize(
    ("old", "new"), [(b"\\u00e9", b"\\u00E9"), (b"\\u00e9", "é".encode()), (b'":"', b'": "')]
)
def test_bytes_that_mean_the_same_are_damage_too(old: bytes, new: bytes) -> None:
    journal = Journal("r", "c", (runner := MemoryStore("runner")), {}, clock=VirtualClock())
    journal.run_stopped("fermé")
    content = runner.files["c/r.jsonl"]
    assert old in content
    assert read_journal(content).records[0].body == {"reason": "fermé"}
    with pytest.raises(JournalDamaged):
        read_journal(content.replace(old, new))


@pytest.mark.parametrize(
    "line", [b"", b"null", b"[]", b"{}", b"[" * 100_000, b"\xff\xfe", b'{"seq":0}', b"\0" * 300]
)
def test_nonsense_is_damage_and_no_traceback(line: bytes) -> None:
    with pytest.raises(JournalDamaged, match="Line 1 "):
        read_journal(line + b"\n")


@given(st.binary(max_size=80))
def test_any_bytes_are_read_or_called_damaged(content: bytes) -> None:
    try:
        assert read_journal(content).records == ()
    except JournalDamaged as error:
        assert "Line 1 " in error.message


@pytest.mark.parametrize(
    "secret", [b"key", Secret(b"key"), {"deep": [Secret(b"key")]}, float("nan"), object()]
)
def test_what_could_be_a_secret_is_not_written(secret: object) -> None:
    mirrors = hosts(1)
    journal = start(mirrors)
    with pytest.raises((TypeError, ValueError)) as caught:
        journal.run_stopped(secret)  # type: ignore[arg-type]
    assert "key" not in str(caught.value)
    journal.run_ended(converged=False)
    assert [r.type for r in read_journal(content_of(mirrors["h1"])).records] == ["run-started", "run-ended"]


@pytest.mark.parametrize("how", ["up", "full"])
def test_a_host_that_fails_is_dropped_and_noted(how: str) -> None:
    mirrors = hosts()
    journal = start(mirrors)
    setattr(mirrors["h2"], how, how == "full")
    journal.step_intent("a")
    journal.write()
    setattr(mirrors["h2"], how, how != "full")
    journal.step_done("a")
    journal.write()
    assert journal.mirrors == ("h1", "h3")
    records = read_journal(content_of(mirrors["h1"])).records
    assert [r.type for r in records] == ["run-started", "step-intent", "mirror-lost", "step-done"]
    assert records[2].body["host"] == "h2"
    assert [r.type for r in read_journal(content_of(mirrors["h2"])).records] == ["run-started"]


@pytest.mark.parametrize(("count", "tolerated"), [(1, 0), (2, 0), (3, 1), (5, 2)])
def test_without_a_majority_of_hosts_nothing_goes_on(count: int, tolerated: int) -> None:
    mirrors = hosts(count)
    journal = start(mirrors)
    for host in list(mirrors)[:tolerated]:
        mirrors[host].up = False
    journal.effect_intent("e0", "start", "h1")
    last = mirrors[list(mirrors)[tolerated]]
    last.up = False
    with pytest.raises(StoppedError, match=f"{last.address} does not answer"):
        journal.effect_intent("e1", "start", "h1")
    last.up = True
    with pytest.raises(StoppedError):
        journal.effect_intent("e1", "start", "h1")


def test_a_runner_that_cannot_write_stops_the_run(tmp_path: Path) -> None:
    (tmp_path / "prod").write_text("in the way")
    mirrors = hosts()
    with pytest.raises(StoppedError, match=os.strerror(errno.ENOTDIR)):
        start(mirrors, runner=RunnerFiles(tmp_path))
    assert not mirrors["h1"].files


def test_nothing_is_written_after_a_line_that_was_cut() -> None:
    class Full(MemoryStore):
        def append(self, name: str, content: bytes) -> None:
            super().append(name, content[:20] if self.full else content)
            if self.full:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        def write(self, name: str, content: bytes) -> None:
            self.files[name] = content

    runner, mirrors = Full("runner"), hosts()
    journal = start(mirrors, runner=runner)
    runner.full = True
    with pytest.raises(StoppedError, match="No space left"):
        journal.effect_intent("e1", "start", "h1")
    runner.full = False
    with pytest.raises(StoppedError, match="No space left"):
        journal.run_stopped("disk full")
    for content in (runner.files[f"prod/{run_start().run}.jsonl"], content_of(mirrors["h1"])):
        assert [r.type for r in read_journal(content).records] == ["run-started"]


def test_the_runners_files_are_private_and_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[tuple[Path, int]] = []
    real = os.fsync

    def fsync(handle: int) -> None:
        path = Path(f"/proc/self/fd/{handle}").readlink()
        synced.append((path, path.stat().st_size if path.is_file() else 0))
        real(handle)

    monkeypatch.setattr("os.fsync", fsync)
    previous = os.umask(0)
    try:
        journal = start(hosts(), runner=RunnerFiles.home({"XDG_STATE_HOME": str(tmp_path / "state")}))
        journal.step_intent("a")
        journal.write()
    finally:
        os.umask(previous)
    directory = tmp_path / "state/etcdplan/journal/prod"
    file = directory / f"{run_start().run}.jsonl"
    first, size = file.read_bytes().index(b"\n") + 1, file.stat().st_size
    made = [tmp_path, *(tmp_path / part for part in ("state", "state/etcdplan", "state/etcdplan/journal"))]
    assert synced == [*((path, 0) for path in made), (file, first), (directory, 0), (file, size)]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert {stat.S_IMODE(path.stat().st_mode) for path in (directory, *made[1:])} == {0o700}


def test_the_runners_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for environ in ({}, {"XDG_STATE_HOME": ""}, {"XDG_STATE_HOME": "relative"}):
        RunnerFiles.home(environ).append("c/r.jsonl", b"x")
    assert (tmp_path / ".local/state/etcdplan/journal/c/r.jsonl").read_bytes() == b"xxx"


def test_no_run_at_all() -> None:
    assert latest_run(hosts()) is None
    assert latest_run({}) is None


def test_the_newest_run_is_found_on_any_host() -> None:
    stores = hosts()
    whole_run(start(stores, token=9))
    start({"h3": stores["h3"]}, token=10).step_intent("add/member4")
    view = latest_run(stores)
    assert view is not None
    assert (view.start, view.ended, view.stopped) == (run_start(10), False, None)
    stores["h3"].up = False
    view = latest_run(stores)
    assert view is not None
    assert (view.start, view.ended) == (run_start(9), True)


def test_the_longest_valid_copy_counts() -> None:
    stores = hosts()
    journal = start(stores)
    stores["h1"].up = False
    journal.run_stopped("signal")
    stores["h1"].up = True
    name = f"journal/{run_start().run}.jsonl"
    whole = stores["h2"].files[name]
    stores["h2"].files[name] = whole.replace(b"signal", b"forged")
    stores["h3"].files[name] = whole + b'{"seq":'
    view = latest_run(stores)
    assert view is not None
    assert view.stopped == "signal"
    assert [r.type for r in view.records] == ["run-started", "run-stopped", "mirror-lost"]
    assert view.damaged == {"h2": "Line 2 of the journal is damaged."}


def test_a_run_whose_copies_are_all_damaged_is_passed_over_only_where_no_majority_has_it() -> None:
    stores = hosts()
    start(stores, token=6)
    start(stores, token=7)
    name = f"journal/{run_start(7).run}.jsonl"
    for host in stores.values():
        host.files[name] = host.files[name].replace(b"ops", b"oops")
    del stores["h3"].files[name]
    with pytest.raises(JournalDamaged, match=f"h1, {name}: Line 1 "):
        latest_run(stores)
    del stores["h2"].files[name]
    view = latest_run(stores)
    assert view is not None
    assert view.start.token == 6
    assert view.damaged == {"h1": f"{run_start(7).run}.jsonl: Line 1 of the journal is damaged."}


def test_a_journal_that_does_not_begin_with_its_run_is_damaged() -> None:
    store = MemoryStore("h1")
    journal = Journal(run_start().run, "prod", MemoryStore("runner"), {"h1": store}, clock=VirtualClock())
    journal.effect_intent("e1", "start", "h1")
    with pytest.raises(JournalDamaged, match="not the start of a run"):
        latest_run({"h1": store})


@pytest.mark.parametrize("left", [b"", b'{"seq":0,'])
def test_a_run_that_died_in_its_first_line_did_nothing(left: bytes) -> None:
    stores = hosts()
    start(stores, token=6)
    stores["h1"].files[f"journal/{run_start(7).run}.jsonl"] = left
    stores["h1"].files["journal/notes.txt"] = b"someone else's"
    view = latest_run(stores)
    assert view is not None
    assert view.start.token == 6


def test_old_journals_are_emptied_once() -> None:
    stores = hosts()
    for token in range(1, 31):
        start(stores, token=token)
    stores["h2"].up = False
    prune(stores, keep=20)
    full = [name for name, content in sorted(stores["h1"].files.items()) if content]
    assert full == [f"journal/{run_start(token).run}.jsonl" for token in range(11, 31)]
    assert all(stores["h2"].files.values())
    calls: list[str] = []
    stores["h1"].called = calls.append
    prune(stores, keep=20)
    assert calls == ["names", "read"]
    view = latest_run(stores)
    assert view is not None
    assert view.start.token == 30


def test_journals_of_what_is_no_more_are_forgotten_and_no_others(tmp_path: Path) -> None:
    """Those of another cluster of the same name, and what is no journal, stay."""
    files = RunnerFiles(tmp_path)
    start(hosts(), token=7, runner=files)
    start(hosts(), token=8, runner=files)
    files.append("prod/strange.jsonl", b"no journal")
    files.forget("prod", lambda host: host in ("h1", "h2"))
    assert len(list(tmp_path.glob("prod/*"))) == 3
    files.forget("prod", lambda host: host.startswith("h"))
    assert [path.name for path in tmp_path.glob("prod/*")] == ["strange.jsonl"]
    (tmp_path / "prod/strange.jsonl").unlink()
    start(hosts(), token=9, runner=files)
    files.forget("prod", lambda host: host.startswith("h"))
    assert not (tmp_path / "prod").exists()
    files.forget("prod", lambda host: True)
