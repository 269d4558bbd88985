"""The backup that a plan rests on: it joins and leaves a run as time goes by, and without it nothing is taken away."""

from dataclasses import dataclass, replace

import pytest

from etcdplan.errors import StoppedError
from etcdplan.model.state import State
from tests.faults.attempts import Attempt
from tests.faults.boundaries import reference
from tests.faults.outcome import dump
from tests.faults.stories import by_name
from tests.support.fake_runs import FakeTaker
from tests.support.fake_world import FakeWorld

STORY = by_name("replace-disk-backed")
TAKES_AWAY = {"member_remove", "set_data_aside", "hold"}


@dataclass
class NoTaker(FakeTaker):
    """No destination takes it."""

    def take(self, state: State, verify: str) -> None:
        raise StoppedError("The bucket refuses.")


@dataclass
class SlowTaker(FakeTaker):
    """A backup takes longer than one may be old."""

    def take(self, state: State, verify: str) -> None:
        super().take(state, verify)
        self.world.settle(3 * 3600)
        self.world.backups[-1] = replace(self.world.backups[-1], taken=int(self.world.clock.now))


def backed_up(world: FakeWorld) -> None:
    """Have somebody take a backup now."""
    FakeTaker(world).take(Attempt(world, STORY.spec).observe(), "restore")


def steps(attempt: Attempt) -> list[str]:
    return [step.kind for step in attempt.document().steps]


def test_when_it_cannot_be_taken_nothing_is_taken_away_and_the_next_run_goes_on() -> None:
    world = STORY.build()
    attempt = Attempt(world, STORY.spec, machine="one")
    session = replace(attempt.session(), taker=NoTaker(world))
    with pytest.raises(StoppedError, match="The bucket refuses"):
        session.apply(attempt.document())
    assert not {done.effect for done in world.effects_log} & TAKES_AWAY
    Attempt(world, STORY.spec, machine="one").resume()
    assert dump(world) == reference(STORY).end and not world.violations
    assert len(world.backups) == 1


def test_one_that_takes_longer_than_it_may_be_old_is_taken_once() -> None:
    world = STORY.build()
    attempt = Attempt(world, STORY.spec)
    replace(attempt.session(), taker=SlowTaker(world)).apply(attempt.document())
    assert dump(world) == reference(STORY).end and not world.violations
    assert len(world.backups) == 1


def test_a_plan_that_was_approved_while_there_was_one_takes_it_when_it_has_become_too_old() -> None:
    world = STORY.build()
    backed_up(world)
    approved = Attempt(world, STORY.spec).document()
    assert "take-backup" not in [step.kind for step in approved.steps]
    world.settle(3 * 3600)
    later = Attempt(world, STORY.spec)
    assert "take-backup" in steps(later) and later.document().digest == approved.digest
    later.session().apply(approved)
    assert dump(world) == reference(STORY).end and not world.violations
    assert len(world.backups) == 2


def test_a_plan_that_takes_one_does_not_when_somebody_else_has() -> None:
    world = STORY.build()
    approved = Attempt(world, STORY.spec).document()
    assert [step.kind for step in approved.steps].count("take-backup") == 1
    backed_up(world)
    Attempt(world, STORY.spec).session().apply(approved)
    assert dump(world) == reference(STORY).end and not world.violations
    assert len(world.backups) == 1


def test_one_of_a_former_cluster_is_none() -> None:
    world = STORY.build()
    backed_up(world)
    world.backups = [replace(one, cluster_id=one.cluster_id + 1) for one in world.backups]
    assert "take-backup" in steps(Attempt(world, STORY.spec))
