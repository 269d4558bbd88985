"""One run a phase: killed after its first effect, resumed and killed after its next, and so on to the end."""

import pytest

from etcdplan.apply.failpoints import Killed, LastWords
from tests.faults.attempts import Attempt, dies
from tests.faults.boundaries import reference
from tests.faults.outcome import dump, summary
from tests.faults.stories import CORE, MORE, Story


class KillNext:
    """Kills at the first boundary of a phase when enough effects have happened since the start."""

    def __init__(self, phase: str, effects: int) -> None:
        self._phase = phase
        self._left = effects

    def hit(self, name: str, label: str, last_words: LastWords) -> None:
        """Count, or die."""
        if self._left <= 0 and name.endswith(self._phase):
            last_words()
            raise Killed(name)
        self._left -= name.endswith("after" if self._phase != "after" else "before")


@pytest.mark.parametrize("phase", ["before", "after", "torn"])
@pytest.mark.parametrize("story", [*CORE, *MORE], ids=str)
def test_a_run_killed_again_and_again_reaches_the_same_end(story: Story, phase: str) -> None:
    """A pair of effects that a killed run must begin anew, such as a key and its certificate, is let through."""
    wanted, world = reference(story), story.build()
    deaths, effects, alive = 0, 1, True
    while alive:
        done = summary(world)
        here = dump(world)
        attempt = Attempt(
            world, story.spec, failpoint=KillNext(phase, effects), machine=("one", "")[deaths % 2]
        )
        alive = dies(attempt, resume=deaths > 0)
        deaths += alive
        effects = effects + 1 if (summary(world), dump(world)) == (done, here) else 1
        assert deaths <= len(wanted.hits)
    assert deaths >= min(len(wanted.effects) // 4, 3)
    assert not world.violations
    assert world.writes_lost() == 0
    assert dump(world) == wanted.end
    assert summary(world) == wanted.summary
    assert not Attempt(world, story.spec).plan().steps
