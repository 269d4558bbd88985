"""apply on real processes, killed with SIGKILL at boundaries, resumed from machines that know nothing, and judged."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from difflib import unified_diff
from pathlib import Path
from typing import Any

from etcdplan.apply.runs import RunView, latest_run
from etcdplan.cli.cluster import LiveCluster
from etcdplan.lab.writers import Writers
from etcdplan.planner.unroll import Plan, unroll
from tests.faults.shape import matches, shape
from tests.support import real_outcome
from tests.support.cli import Done, Lab, killed
from tests.support.real_outcome import NOTHING, History

PHASES = ("before", "after", "torn")


@dataclass(frozen=True)
class Scenario:
    """Something that apply has to do. `begin` brings a lab there and returns the spec; some of `hosts` always serve."""

    name: str
    begin: Callable[[Lab], Path]
    hosts: tuple[int, ...] = (1, 2, 3)

    def __str__(self) -> str:
        return self.name


def _bootstrap(lab: Lab) -> Path:
    lab.make()
    return lab.spec


def _replacement(lab: Lab) -> Path:
    lab.up()
    lab.break_("member2")
    return lab.spec


def _up(before: int, after: int) -> Callable[[Lab], Path]:
    def begin(lab: Lab) -> Path:
        lab.up(before)
        return lab.variant(members={f"member{number}": number for number in range(1, after + 1)})

    return begin


BOOTSTRAP = Scenario("bootstrap", _bootstrap)
REPLACEMENT = Scenario("replacement", _replacement, hosts=(1, 3))
SCALE_UP = Scenario("scaling 3→5", _up(3, 5))
SCALE_DOWN = Scenario("scaling 5→3", _up(5, 3))
SCENARIOS = (BOOTSTRAP, REPLACEMENT, SCALE_UP, SCALE_DOWN)


@dataclass(frozen=True)
class End:
    """How a scenario ended, in comparable form."""

    dump: str
    asked: Counter[tuple[str, str]]
    done: Counter[tuple[str, str]]
    possible: Counter[tuple[str, str]]


def end(lab: Lab, spec: Path, since: History = NOTHING) -> End:
    """Return how it ended; `since` is what had happened in the lab before the scenario."""
    with lab.live(spec) as live:
        state = live.observe()
        dump = real_outcome.dump(lab, state, live.target)
    return End(dump, real_outcome.asked(lab, since), *real_outcome.made_once(lab, since))


@dataclass
class Before:
    """What was seen and planned before a command that may be killed, and the newest run of that time."""

    plan: Plan
    run: str


def before(live: LiveCluster) -> Before:
    """Look, and plan."""
    found = newest_run(live)
    return Before(unroll(live.target, live.observe()), found.start.run if found else "")


def newest_run(live: LiveCluster) -> RunView | None:
    """Return the newest run that the hosts remember."""
    hosts = live.target.hosts()
    return latest_run({host: live.hosts.host(host).store for host in hosts})


def check_declared(lab: Lab, spec: Path, was: Before) -> str:
    """Check that what is seen now is a stage of the step that was under way, and return the ID of that step.

    The stages are those of the plan made before; the journals on the hosts say how far it came.
    """
    with lab.live(spec) as live:
        state = live.observe()
        run = newest_run(live)
    begun = run.begun if run is not None and run.start.run != was.run else ()
    steps = {planned.step.id: planned.step for planned in was.plan.steps}
    now = was.plan.state
    stages = [now]
    for place, step in enumerate(begun):
        if place:
            now = steps[begun[place - 1]].after(now)
        stages = [now, *steps[step].stages(now)]
    if not any(state.hosts.keys() <= stage.hosts.keys() and matches(state, stage) for stage in stages):
        declared = [shape(stage) for stage in stages]
        seen = list(real_outcome.facts(shape(state), "state"))
        nearest = min(
            (
                list(unified_diff(list(real_outcome.facts(stage, "state")), seen, "declared", "seen", n=0))
                for stage in declared
            ),
            key=len,
        )
        raise AssertionError("\n".join([f"an undeclared state in {begun[-1:]}; the nearest:", *nearest]))
    return begun[-1] if begun else ""


@dataclass
class Kill:
    """One command that died: the boundary, what happens there, and the step that was under way."""

    boundary: str
    label: str
    step: str = ""


@dataclass
class Crashes:
    """A spec being applied in a lab by commands that die; `kills` has all of them so far."""

    lab: Lab
    spec: Path
    kills: list[Kill] = field(default_factory=list)
    since: History = NOTHING

    def run(self, boundary: str, **more: Any) -> bool:
        """Run apply, or its resumption, and let it die at a boundary; return whether it came that far.

        Checks that the state right after is one that a step declared.
        """
        with self.lab.live(self.spec) as live:
            was = before(live)
        log = self.lab.directory / f"boundaries-{self.lab.name}"
        log.unlink(missing_ok=True)
        failpoint = {
            "ETCDPLAN_TEST_BUILD": "1",
            "ETCDPLAN_FAILPOINT": boundary,
            "ETCDPLAN_FAILPOINT_LOG": str(log),
        }
        done = self.finish(expect=None, env=failpoint, **more)
        if not killed(done):
            assert done.code == 0, f"{boundary}: {done}"
            return False
        last, _, label = log.read_text().splitlines()[-1].partition(" ")
        self.kills.append(Kill(last, label))
        self.kills[-1].step = check_declared(self.lab, self.spec, was)
        return True

    def finish(self, *, expect: int | None = 0, **more: Any) -> Done:
        """Resume from an empty directory; what died before any journal had a line had no effect, and begins again."""
        with self.lab.live(self.spec) as live:
            known = newest_run(live)
        if known is None or known.ended:
            assert not self.lab.effects() or known is not None
            return self.lab.apply(self.spec, expect=expect, **more)
        return self.lab.resume(self.spec, expect=expect, **more)


def chain(crashes: Crashes, phase: str, copies: int) -> Iterator[Kill]:
    """Kill at one boundary after the other, each command at its first that brings the work on, to the end."""
    for boundary in _boundaries(crashes, phase, copies):
        if not crashes.run(boundary):
            return
        yield crashes.kills[-1]
        assert len(crashes.kills) < 200, f"the chain does not come to an end: {crashes.kills[-8:]}"


def _boundaries(crashes: Crashes, phase: str, copies: int) -> Iterator[str]:
    if phase == "torn":
        # The first lines, which come before any effect; then those that come after one.
        yield from (torn(line, copies) for line in (1, 2, 3))
        while True:
            yield from (torn(line, copies) for line in (4, 5, 6))
    first = ordinary = 1 if phase == "after" else 2
    yield f"effect:1:{phase}"
    while True:
        # What a key was made for is not there yet: then the key is made again, and the kill comes one effect later.
        again = len(crashes.kills) > 1 and crashes.kills[-1].label == crashes.kills[-2].label
        first = first + 1 if again else ordinary
        yield f"effect:{first}:{phase}"


def torn(line: int, copies: int) -> str:
    """Name the boundary in the middle of a journal's line, by turns in each of its copies."""
    return f"journal:{(line - 1) * copies + (line - 1) % copies + 1}:torn"


def check_end(crashes: Crashes, undisturbed: End, writers: Writers, *, cut: bool = False) -> None:
    """Check that it ended as an undisturbed run does, with nothing done twice and nothing lost.

    `cut`: effects themselves may have been cut. Whether such a one happened is not known, and it may be claimed again.
    """
    lab, spec = crashes.lab, crashes.spec
    report = writers.stop()
    reached = end(lab, spec, crashes.since)
    difference = unified_diff(
        undisturbed.dump.splitlines(), reached.dump.splitlines(), "undisturbed", "here", n=0
    )
    assert reached.dump == undisturbed.dump, "\n".join(difference)
    assert reached.asked == undisturbed.asked
    if not cut:
        assert reached.possible == undisturbed.possible
    for effect in undisturbed.done | reached.possible:
        assert reached.done[effect] <= undisturbed.done[effect] <= reached.possible[effect], effect
    real_outcome.check_journals(lab)
    assert report.acknowledged > 0
    assert writers.lost() == 0
