"""Failpoints: no effect without its boundaries, and a dead process does nothing more."""

import inspect
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from etcdplan.apply.failpoints import (
    Boundaries,
    FailpointHosts,
    FailpointStore,
    KillAt,
    Killed,
    NoFailpoint,
    from_environment,
)
from etcdplan.apply.journal import Journal, read_journal
from etcdplan.errors import UsageError
from etcdplan.hosts.ports import Claim, HostEffects, HostRefused, Hosts, ManagedHost
from tests.support.clock import VirtualClock
from tests.unit.apply.memory_store import MemoryStore

CLAIM = Claim(1, "effect-id")
METHODS = {name: method for name, method in vars(HostEffects).items() if inspect.isfunction(method)}
EFFECTS = sorted(name for name in METHODS if not name.startswith("_"))


class World:
    """Hosts whose effects are only noted: all that the port has now, and one that it may get."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self.stores: dict[str, MemoryStore] = {}
        self.refuse = False

    def host(self, address: str) -> ManagedHost:
        def noted(name: str) -> Any:
            def method(claim: Claim, *arguments: object) -> str:
                if self.refuse:
                    raise HostRefused("no")
                self.calls.append((address, name))
                return f"result of {name}"

            return method

        effects = SimpleNamespace(**{name: noted(name) for name in (*EFFECTS, "effect_of_tomorrow")})
        store = self.stores.setdefault(address, MemoryStore(address))
        return cast(
            ManagedHost,
            SimpleNamespace(address=address, store=store, effects=effects, inspect=lambda: "seen"),
        )


def call(hosts: Hosts, name: str, address: str = "h1") -> Any:
    """Call a method of the port with one word for each of its parameters."""
    words = ["word"] * (len(inspect.signature(METHODS[name]).parameters) - 2) if name in METHODS else []
    return getattr(hosts.host(address).effects, name)(CLAIM, *words)


def test_the_port_has_effects() -> None:
    assert len(EFFECTS) >= 14
    assert {"start", "member_add", "make_leaf_key"} <= set(EFFECTS)


@pytest.mark.parametrize("name", [*EFFECTS, "effect_of_tomorrow"])
def test_every_effect_has_both_boundaries(name: str) -> None:
    world, failpoint = World(), KillAt("never")
    assert call(FailpointHosts(world, Boundaries(failpoint)), name) == f"result of {name}"
    assert world.calls == [("h1", name)]
    assert [hit for hit, _ in failpoint.hits] == ["effect:1:before", "effect:1:after"]
    assert {label.split()[:2] == [name, "h1"] for _, label in failpoint.hits} == {True}


@pytest.mark.parametrize("name", [*EFFECTS, "effect_of_tomorrow"])
@pytest.mark.parametrize(("phase", "done"), [("before", 1), ("after", 2)])
def test_a_process_dies_at_the_boundary_and_stays_dead(name: str, phase: str, done: int) -> None:
    assert not issubclass(Killed, Exception), "a handler of errors could see it"
    world = World()
    hosts = FailpointHosts(world, Boundaries(KillAt(f"effect:2:{phase}")))
    call(hosts, "stop", "h2")
    with pytest.raises(Killed):
        call(hosts, name)
    assert world.calls == [("h2", "stop"), ("h1", name)][:done]
    dead = hosts.host("h1")
    for late in (
        lambda: call(hosts, "stop"),
        lambda: dead.store.write("f", b""),
        lambda: dead.store.append("f", b""),
        lambda: dead.store.replace("f", None, b"", timeout=1),
        lambda: dead.store.read("f"),
        lambda: dead.inspect(timeout=1),
    ):
        with pytest.raises(Killed):
            late()
    assert len(world.calls) == done
    assert not world.stores["h1"].files


def test_boundaries_are_numbered_over_all_hosts_and_those_of_one_run() -> None:
    failpoint = KillAt("never")
    hosts = FailpointHosts(World(), Boundaries(failpoint))
    for address, name in (("h1", "hold"), ("h2", "start"), ("h1", "start")):
        call(hosts, name, address)
    assert failpoint.hits == [
        ("effect:1:before", "hold h1 word"),
        ("effect:1:after", "hold h1 word"),
        ("effect:2:before", "start h2 word"),
        ("effect:2:after", "start h2 word"),
        ("effect:3:before", "start h1 word"),
        ("effect:3:after", "start h1 word"),
    ]


@pytest.mark.parametrize("at", range(1, 7))
def test_a_process_can_die_at_the_nth_boundary(at: int) -> None:
    world, failpoint = World(), KillAt(at)
    hosts = FailpointHosts(world, Boundaries(failpoint))
    with pytest.raises(Killed):
        for name in ("hold", "start", "stop"):
            call(hosts, name)
    assert len(failpoint.hits) == at
    assert len(world.calls) == at // 2


def test_the_end_of_a_refused_effect_is_a_boundary_too() -> None:
    world, failpoint = World(), KillAt("effect:2:after")
    world.refuse = True
    hosts = FailpointHosts(world, Boundaries(failpoint))
    with pytest.raises(HostRefused):
        call(hosts, "start")
    with pytest.raises(Killed):
        call(hosts, "start")


def test_looking_is_no_effect() -> None:
    failpoint = KillAt("never")
    host = FailpointHosts(World(), Boundaries(failpoint)).host("h1")
    assert (host.address, host.store.read("f"), host.store.names("d")) == ("h1", None, ())
    host.store.write("f", b"x")
    host.store.replace("f", b"x", b"y", timeout=1)
    assert failpoint.hits == []


def journal(world: World, runner: MemoryStore, boundaries: Boundaries) -> Journal:
    hosts = FailpointHosts(world, boundaries)
    mirrors = {address: hosts.host(address).store for address in ("h1", "h2")}
    return Journal("r", "c", FailpointStore(runner, boundaries, "runner"), mirrors, clock=VirtualClock())


@pytest.mark.parametrize("at", range(1, 10))
def test_every_line_can_be_torn_on_every_disk(at: int) -> None:
    """Three lines on three disks: the one that is torn loses its last line, those after it never had it."""
    world, runner = World(), MemoryStore("runner")
    failpoint = KillAt(f"journal:{at}:torn")
    written = journal(world, runner, Boundaries(failpoint))
    with pytest.raises(Killed):
        for effect in ("a", "b", "c"):
            written.effect_intent(effect, "start", "h1")
    assert (
        failpoint.hits[-1][1]
        == ("c/r.jsonl runner", "journal/r.jsonl h1", "journal/r.jsonl h2")[(at - 1) % 3]
    )
    contents = [
        runner.files.get("c/r.jsonl", b""),
        *(store.files.get("journal/r.jsonl", b"") for store in world.stores.values()),
    ]
    views = [read_journal(content) for content in contents]
    lines, disk = divmod(at - 1, 3)
    assert [view.torn for view in views] == [number == disk for number in range(3)]
    assert [len(view.records) for view in views] == [lines + (number < disk) for number in range(3)]


@pytest.mark.parametrize("at", range(1, 10))
def test_lines_that_are_written_together_are_torn_one_by_one(at: int) -> None:
    """Three lines on three disks: the disk that is torn has those before the torn one, those after it have none."""
    world, runner = World(), MemoryStore("runner")
    written = journal(world, runner, Boundaries(KillAt(f"journal:{at}:torn")))
    with pytest.raises(Killed):
        for step in ("a", "b", "c"):
            written.step_intent(step)
        written.write()
    contents = [
        runner.files.get("c/r.jsonl", b""),
        *(store.files.get("journal/r.jsonl", b"") for store in world.stores.values()),
    ]
    views = [read_journal(content) for content in contents]
    disk, lines = divmod(at - 1, 3)
    assert [view.torn for view in views] == [number == disk for number in range(3)]
    assert [len(view.records) for view in views] == [
        3 if number < disk else lines if number == disk else 0 for number in range(3)
    ]


def test_no_failpoint_changes_nothing() -> None:
    world, runner = World(), MemoryStore("runner")
    boundaries = Boundaries(NoFailpoint())
    written = journal(world, runner, boundaries)
    calls: list[str] = []
    runner.called = calls.append
    written.effect_intent("a", "start", "h1")
    assert calls == ["write"]
    assert len(read_journal(runner.files["c/r.jsonl"]).records) == 1
    assert call(FailpointHosts(world, boundaries), "start") == "result of start"


PROGRAM = """
import sys
from etcdplan.apply.failpoints import Boundaries, FailpointStore, FailpointEffects, from_environment
from etcdplan.apply.journal import Journal, RunnerFiles
from tests.support.clock import VirtualClock
from pathlib import Path

class Effects:
    def start(self, claim, unit):
        print("started", unit, flush=True)

boundaries = Boundaries(from_environment())
runner = FailpointStore(RunnerFiles(Path(sys.argv[1])), boundaries, "runner")
journal = Journal("r", "c", runner, {}, clock=VirtualClock())
effects = FailpointEffects(Effects(), boundaries, "h1")
for unit in ("etcd", "api"):
    journal.effect_intent(unit, "start", "h1")
    effects.start(None, unit)
    journal.effect_result(unit, "done")
journal.write()
print("ended", flush=True)
"""
BOUNDARIES = [
    "journal:1:torn c/r.jsonl runner",
    "effect:1:before start h1 etcd",
    "effect:1:after start h1 etcd",
    "journal:2:torn c/r.jsonl runner",
    "journal:3:torn c/r.jsonl runner",
    "effect:2:before start h1 api",
    "effect:2:after start h1 api",
    "journal:4:torn c/r.jsonl runner",
]


def run(directory: Path, **environ: str) -> tuple[int, str, list[str]]:
    log = directory / "log"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(directory)],
        env={**os.environ, "ETCDPLAN_FAILPOINT_LOG": str(log), **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert not done.stderr
    return done.returncode, done.stdout, log.read_text().splitlines() if log.exists() else []


def test_a_real_process_logs_its_boundaries(tmp_path: Path) -> None:
    assert run(tmp_path, ETCDPLAN_TEST_BUILD="1") == (0, "started etcd\nstarted api\nended\n", BOUNDARIES)


@pytest.mark.parametrize("number", range(len(BOUNDARIES)))
def test_a_real_process_dies_at_its_boundary(tmp_path: Path, number: int) -> None:
    at = BOUNDARIES[number].split()[0]
    code, out, log = run(tmp_path, ETCDPLAN_TEST_BUILD="1", ETCDPLAN_FAILPOINT=at)
    assert code == -signal.SIGKILL
    assert log == BOUNDARIES[: number + 1]
    assert out.splitlines() == ["started etcd", "started api"][: sum(":after" in line for line in log)]
    view = read_journal((tmp_path / "c/r.jsonl").read_bytes())
    assert view.torn is at.endswith("torn")
    assert len(view.records) == sum(":torn" in line for line in log) - view.torn


@pytest.mark.parametrize("build", ["", "0", "yes"])
def test_a_failpoint_needs_a_test_build(tmp_path: Path, build: str) -> None:
    code, out, log = run(tmp_path, ETCDPLAN_TEST_BUILD=build, ETCDPLAN_FAILPOINT="effect:1:before")
    assert (code, out.splitlines()[-1], log) == (0, "ended", [])


def test_the_default_is_no_failpoint() -> None:
    for environ in ({}, {"ETCDPLAN_TEST_BUILD": "1"}, {"ETCDPLAN_FAILPOINT": "nonsense"}):
        assert isinstance(from_environment(environ), NoFailpoint)


@pytest.mark.parametrize(
    "at", ["7", "effect:0:before", "effect:1:torn", "journal:1:before", "effect:1:after "]
)
def test_a_boundary_that_cannot_be_is_refused(at: str) -> None:
    with pytest.raises(UsageError, match="names no boundary"):
        from_environment({"ETCDPLAN_TEST_BUILD": "1", "ETCDPLAN_FAILPOINT": at})
