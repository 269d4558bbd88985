"""Clients are routed away before their API server stops, and back after it is ready, wherever a run dies."""

from collections.abc import Iterator

import pytest

from etcdplan.apply.failpoints import KillAt
from etcdplan.errors import StoppedError
from tests.faults.attempts import Attempt, dies, finish
from tests.faults.stories import Story, by_name
from tests.support.fake_world import FakeWorld

STORY = by_name("replace-own-drained")
RESTARTS = by_name("flags-drained")


def turn(name: str) -> list[tuple[str, ...]]:
    return [("balancer", name, "drain"), ("stop", name), ("start", name), ("balancer", name, "undrain")]


INTENDED = turn("cp2")
ALL_INTENDED = [*turn("cp1"), *turn("cp2"), *turn("cp3")]


def calls(world: FakeWorld) -> Iterator[tuple[str, ...]]:
    """Yield what happened to API servers, what was repeated at once left out."""
    last: tuple[str, ...] = ()
    for call in world.hook_calls:
        if call != last:
            yield call
        last = call


def boundaries(story: Story, intended: list[tuple[str, ...]]) -> list[str]:
    world, failpoint = story.build(), KillAt("")
    world.hook_calls.clear()
    Attempt(world, story.spec, failpoint=failpoint).apply()
    assert world.hook_calls == intended
    return [name for name, label in failpoint.hits if "apiserver/cp2" in label]


@pytest.mark.parametrize(
    ("story", "intended"), [(STORY, INTENDED), (RESTARTS, ALL_INTENDED)], ids=["replaced", "flags"]
)
def test_a_run_that_dies_goes_on_routing(story: Story, intended: list[tuple[str, ...]]) -> None:
    """Before a stop, be it one of a restart; back when it is ready, and before the next one's turn."""
    points = boundaries(story, intended)
    assert len(points) >= 8
    for name in points:
        world = story.build()
        world.hook_calls.clear()
        assert dies(Attempt(world, story.spec, failpoint=KillAt(name), machine="one"))
        finish(world, Attempt(world, story.spec, machine="one"))
        assert list(calls(world)) == intended, name
        assert not Attempt(world, story.spec).plan().steps


@pytest.mark.parametrize("action", ["drain", "undrain"])
def test_a_hook_that_fails_stops_the_run_where_it_is(action: str, monkeypatch: pytest.MonkeyPatch) -> None:
    world = STORY.build()
    world.hook_calls.clear()
    run = world.run_hook

    def failing(name: str, api_server: str, wanted: str) -> None:
        if wanted == action:
            raise StoppedError("The balancer does not answer.")
        run(name, api_server, wanted)

    monkeypatch.setattr(world, "run_hook", failing)
    with pytest.raises(StoppedError, match="does not answer"):
        Attempt(world, STORY.spec, machine="one").apply()
    assert world.hook_calls == INTENDED[: INTENDED.index(("balancer", "cp2", action))]
    monkeypatch.undo()
    Attempt(world, STORY.spec, machine="one").resume()
    assert world.hook_calls == INTENDED
