"""apply is killed while it takes the lock, gives it back, or empties old journals."""

import pytest

from etcdplan.apply.failpoints import KillAt
from tests.faults.attempts import Attempt, dies, finish
from tests.faults.boundaries import reference
from tests.faults.outcome import dump, summary
from tests.faults.stories import Story, by_name

STORIES = tuple(map(by_name, ("down", "bootstrap-1-1api", "replace-new-host")))


@pytest.mark.parametrize("machine", ["one", ""])
@pytest.mark.parametrize("story", STORIES, ids=str)
def test_a_lock_that_was_half_taken_or_half_released_is_in_nobodys_way(story: Story, machine: str) -> None:
    """Seen from the same machine its holder is dead; seen from another one it is silent for half a minute."""
    counted = KillAt(0)
    Attempt(story.build(), story.spec, failpoint=counted, dies_at_writes=True).apply()
    places = [name for name, _ in counted.hits if name.startswith("write")]
    assert len(places) >= 4 * len(Attempt(story.build(), story.spec).target.hosts())
    for place in places:
        world = story.build()
        attempt = Attempt(world, story.spec, failpoint=KillAt(place), dies_at_writes=True, machine="one")
        assert dies(attempt), place
        began = world.clock.now
        finish(world, Attempt(world, story.spec, machine=machine))
        assert not world.violations
        assert dump(world) == reference(story).end, place
        assert summary(world) == reference(story).summary, place
        world.kill("10.0.0.1")
        Attempt(world, story.spec, machine=machine).apply()
        assert world.machines["10.0.0.1"].etcd.process is not None
        assert world.clock.now - began < 300
