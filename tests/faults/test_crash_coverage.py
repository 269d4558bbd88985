"""apply is killed at every boundary, in every phase, and one resume by a new process reaches the same end.

The phases: before an effect, after it and before its result is in the journal, in the middle of a journal's line on
each of the disks that it is written to.
"""

import os
from collections import Counter
from collections.abc import Iterator

import pytest

from etcdplan.apply.failpoints import KillAt
from tests.faults.attempts import Attempt, dies, finish
from tests.faults.boundaries import reference
from tests.faults.outcome import dump, summary
from tests.faults.shape import matches
from tests.faults.stories import APART, CORE, MORE, Story

EVERY_DISK = {"bootstrap-3", "replace-disk", "scale-1-3"}
"""Stories in which each line of the journal is torn on each disk; in the others on one, another for every line."""
EVERYTHING = os.environ.get("ETCDPLAN_EVERY_POINT") == "1"
PARTS = 4


def points(story: Story) -> Iterator[int]:
    """Yield the places of the boundaries to kill at: all effects, and all lines of the journal."""
    wanted = reference(story)
    disks = list(dict.fromkeys(_disk(label) for name, label in wanted.hits if _is_torn(name)))
    lines: Counter[str] = Counter()
    for place, (name, label) in enumerate(wanted.hits):
        disk = _disk(label)
        if _is_torn(name):
            lines[disk] += 1
        if (
            EVERYTHING
            or story.name in EVERY_DISK
            or not _is_torn(name)
            or disk == disks[lines[disk] % len(disks)]
        ):
            yield place


def _is_torn(name: str) -> bool:
    return name.endswith("torn")


def _disk(label: str) -> str:
    """Return where a line of the journal is written: `runner`, which comes first, or a host."""
    return label.rpartition(" ")[2]


def assert_declared(died: Attempt, looks: Attempt, what: str) -> None:
    """Assert that what is seen is one of the states that the step passes through."""
    seen = looks.observe()
    assert set(seen.hosts) >= set(died.target.hosts())
    assert not died.declared or any(matches(seen, state) for state in died.declared), f"{what}: undeclared"


def crash(story: Story, place: int) -> None:
    """Kill a run at one boundary, look, resume it once, and compare with the undisturbed run."""
    wanted = reference(story)
    name, _ = wanted.hits[place]
    world = story.build()
    failpoint = KillAt(name)
    first = Attempt(world, story.spec, failpoint=failpoint, machine="one", watch_step=wanted.steps[place])
    assert dies(first), f"{name} was not reached"
    assert failpoint.hits[-1][0] == name
    at_once = place % 2 == 0
    second = Attempt(world, story.spec, machine="one" if at_once else "two")
    assert_declared(first, second, name)
    if not at_once:
        world.settle(20)
        assert_declared(first, second, f"{name}, a while later")
    finish(world, second)
    assert not world.violations
    assert world.writes_lost() == 0
    assert dump(world) == wanted.end
    assert summary(world) == wanted.summary
    assert set(world.members_added.values()) <= {1}
    assert not second.plan().steps
    effects = len(world.effects_log)
    assert Attempt(world, story.spec).apply() == 0
    assert len(world.effects_log) == effects


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("story", [*CORE, *MORE, *APART], ids=str)
def test_a_run_killed_anywhere_is_resumed_to_the_same_end(story: Story, part: int) -> None:
    """Each point is a run of its own in a new world."""
    for place in [*points(story)][part::PARTS]:
        crash(story, place)


def test_every_boundary_is_hit_in_every_phase() -> None:
    """The registry is complete: every effect has both phases, every line of the journal is torn, and they are many."""
    total = 0
    for story in (*CORE, *MORE, *APART):
        wanted = reference(story)
        chosen = [wanted.hits[place] for place in points(story)]
        effects = [name for name, _ in wanted.hits if not _is_torn(name)]
        count = len(effects) // 2
        assert effects == [
            f"effect:{n}:{phase}" for n in range(1, count + 1) for phase in ("before", "after")
        ]
        assert [name for name, _ in chosen if not _is_torn(name)] == effects
        lines = sum(_disk(label) == "runner" for _, label in wanted.hits)
        torn = [_disk(label) for name, label in chosen if _is_torn(name)]
        assert len(torn) >= lines > 2 * count
        assert set(torn) == {_disk(label) for name, label in wanted.hits if _is_torn(name)}
        total += len(chosen)
    assert total >= 600
    print(f"{total} points")
