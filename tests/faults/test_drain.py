"""Clients are routed away before their API server stops, and back after it is ready, wherever a run dies."""

from collections.abc import Iterator

import pytest

from etcdplan.apply.failpoints import KillAt
from etcdplan.errors import StoppedError
from tests.faults.attempts import Attempt, dies, finish
from tests.faults.stories import by_name
from tests.support.fake_world import FakeWorld

STORY = by_name("replace-own-drained")
INTENDED = [
    ("balancer", "cp2", "drain"),
    ("stop", "cp2"),
    ("start", "cp2"),
    ("balancer", "cp2", "undrain"),
]


def calls(world: FakeWorld) -> Iterator[tuple[str, ...]]:
    """Yield what happened to API servers, what was repeated at once left out."""
    last: tuple[str, ...] = ()
    for call in world.hook_calls:
        if call != last:
            yield call
        last = call


def boundaries() -> list[str]:
    world, failpoint = STORY.build(), KillAt("")
    world.hook_calls.clear()
    Attempt(world, STORY.spec, failpoint=failpoint).apply()
    assert world.hook_calls == INTENDED
    return [name for name, label in failpoint.hits if "apiserver/cp2" in label]


def test_a_run_that_dies_goes_on_routing() -> None:
    points = boundaries()
    assert len(points) >= 8
    for name in points:
        world = STORY.build()
        world.hook_calls.clear()
        assert dies(Attempt(world, STORY.spec, failpoint=KillAt(name), machine="one"))
        finish(world, Attempt(world, STORY.spec, machine="one"))
        assert list(calls(world)) == INTENDED, name
        assert not Attempt(world, STORY.spec).plan().steps


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
