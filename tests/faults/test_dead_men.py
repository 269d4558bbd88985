"""Hosts that take changes back: a controller dies at every effect, they do so, and the next one resumes."""

import pytest

from etcdplan.apply.failpoints import KillAt
from etcdplan.errors import EtcdplanError, RolledBackError
from tests.faults.attempts import Attempt, dies, finish
from tests.faults.boundaries import At
from tests.faults.outcome import dump
from tests.faults.stories import Story, by_name
from tests.support.fake_world import FakeWorld

STORIES = tuple(
    map(by_name, ("rolling", "replace-disk-api", "replace-new-host-api", "scale-1-3-api", "scale-5-3-api"))
)


def build(story: Story) -> FakeWorld:
    world = story.build()
    world.dead_men = True
    return world


def armed(world: FakeWorld) -> list[tuple[str, str]]:
    return [
        (m.address, name) for m in world.machines.values() for name, unit in m.units.items() if unit.armed
    ]


def reference(story: Story) -> tuple[object, list[tuple[str, str]]]:
    """Return how it ends undisturbed, and the boundaries of its effects."""
    world, nobody = build(story), KillAt(0)
    Attempt(world, story.spec, failpoint=nobody).apply()
    assert not world.violations
    assert not armed(world)
    assert any(label.startswith("disarm ") for _, label in nobody.hits), "nothing was armed"
    return dump(world), [hit for hit in nobody.hits if hit[0].startswith("effect")]


@pytest.mark.parametrize("fires", [True, False], ids=["fired", "claimed"])
@pytest.mark.parametrize("story", STORIES, ids=str)
def test_whatever_was_taken_back_is_done_again_by_the_run_that_resumes(story: Story, fires: bool) -> None:
    """And what is claimed in time is left as it is."""
    end, effects = reference(story)
    was_armed = 0
    for name, label in effects:
        world = build(story)
        first = Attempt(world, story.spec, failpoint=KillAt(name), machine="one")
        assert dies(first), label
        was_armed += bool(armed(world))
        if fires:
            world.fire_dead_men()
            world.settle(20)
        finish(world, Attempt(world, story.spec, machine="one"))
        assert dump(world) == end, label
        assert not armed(world), label
        assert not world.violations, label
        assert world.writes_lost() == 0, label
        assert not Attempt(world, story.spec).plan().steps, label
    assert was_armed


def test_a_change_that_its_host_took_back_ends_the_run_and_is_told() -> None:
    story = by_name("rolling")
    world = build(story)
    failpoint = At("effect:2:after", lambda label: world.fire_dead_men())
    attempt = Attempt(world, story.spec, failpoint=failpoint, machine="one")
    with pytest.raises(RolledBackError, match=r"took the new settings of etcd back. its controller"):
        attempt.apply()
    [note] = [note for note in attempt.plan().notes if "rolled back" in note]
    assert note.endswith("its controller gave no sign of life")
    finish(world, Attempt(world, story.spec, machine="one"))
    assert not any("rolled back" in note for note in Attempt(world, story.spec).plan().notes)


def test_what_does_not_start_again_is_taken_back_by_the_controller() -> None:
    """The others are not touched, and the run may be resumed."""
    story = by_name("rolling")
    end, _ = reference(story)
    world = build(story)
    before = dump(world)
    world.fail_effect("start", message="it ended at once")
    with pytest.raises(RolledBackError, match=r"it ended at once.* works again: etcd on 10.0.0.") as raised:
        Attempt(world, story.spec, machine="one").apply()
    assert isinstance(raised.value.__cause__, EtcdplanError)
    assert dump(world) == before
    assert not armed(world)
    finish(world, Attempt(world, story.spec, machine="one"))
    assert dump(world) == end
