"""What may happen between two steps: the world changes, a person interferes, the run is told to stop."""

from collections.abc import Callable

import pytest

from etcdplan.apply.events import Event, RunStarted, StepDone
from etcdplan.errors import EtcdplanError, LockHeldError, RefusedError, StaleError, StoppedError
from tests.faults.attempts import Attempt
from tests.faults.boundaries import reference
from tests.faults.outcome import dump, summary
from tests.faults.stories import Story, by_name
from tests.support.fake_calls import member_add, member_remove, move_leader
from tests.support.fake_etcd import FakeCluster
from tests.support.fake_world import FakeWorld
from tests.support.scenarios import founded, make_spec

NAMES = ("bootstrap-3-1api", "replace-disk-api", "replace-new-host-api", "scale-3-5", "scale-5-3", "rolling")
STORIES = tuple(map(by_name, NAMES))
REPLACEMENTS = tuple(map(by_name, ("replace-disk-api", "replace-new-host-api", "replace-new-host-hung")))


class Checkpoint(Attempt):
    """An attempt in which something happens at one checkpoint: before its first step (0), or after the n-th."""

    place: int = 0
    happens: Callable[[], object] = staticmethod(lambda: None)
    reached: bool = False

    def was_reached(self) -> bool:
        """Whether it has happened."""
        return self.reached

    def _watch(self, event: Event) -> None:
        super()._watch(event)
        steps = sum(isinstance(seen, StepDone) for seen in self.events)
        if isinstance(event, RunStarted | StepDone) and steps == self.place and not self.reached:
            self.reached = True
            self.happens()


def checkpoint(world: FakeWorld, story: Story, place: int, happens: Callable[[], object]) -> Checkpoint:
    """Make an attempt in which something happens at a checkpoint."""
    attempt = Checkpoint(world, story.spec, machine="one")
    attempt.place, attempt.happens = place, happens
    return attempt


def checkpoints(story: Story) -> range:
    """Return the places between the steps of an undisturbed run, the start and the end included."""
    return range(max(reference(story).steps) + 1)


def converge(world: FakeWorld, story: Story) -> None:
    """Plan and apply until nothing is left to do; whatever the spec asks for is there then."""
    for _ in range(4):
        world.settle(80)
        attempt = Attempt(world, story.spec, machine="one")
        plan = attempt.plan()
        if not plan.refusals and not plan.steps:
            break
        if [refusal.code for refusal in plan.refusals] == ["does-not-start"]:
            _follow_the_remedy(world)
            continue
        attempt.apply()
    else:
        raise AssertionError("there is always something left to do")
    assert set(world.serving()) == {member.host for member in attempt.target.members.values()}


def _follow_the_remedy(world: FakeWorld) -> None:
    """Start what its supervisor has given up on."""
    for address, machine in world.machines.items():
        if machine.etcd.failing:
            world.start(address)


def assert_safe(world: FakeWorld) -> None:
    """Assert what must hold at any end."""
    assert not world.violations
    assert world.writes_lost() == 0
    assert sum(cluster.ever_led for cluster in world.clusters) <= 1


def _living(world: FakeWorld) -> FakeCluster | None:
    return next((cluster for cluster in world.clusters if cluster.leader is not None), None)


@pytest.mark.parametrize("story", STORIES, ids=str)
def test_another_leader_changes_nothing_but_the_order(story: Story) -> None:
    """The run goes on and ends as it would have."""
    for place in checkpoints(story):
        world = story.build()

        def move(world: FakeWorld = world) -> None:
            cluster = _living(world)
            if cluster is None or cluster.leader is None or cluster.leader.data is None:
                return
            here = cluster.leader
            others = [
                p
                for p in world.live_etcds()
                if p is not here and p.ready and p.data and p.data.cluster is cluster
            ]
            heirs = [p for p in others if p.data and not cluster.members[p.data.member_id].learner]
            if heirs and heirs[-1].data:
                move_leader(
                    world, here.machine, here.settings["advertise-client-urls"], heirs[-1].data.member_id
                )
                world.react()

        attempt = checkpoint(world, story, place, move)
        attempt.apply()
        assert attempt.reached
        assert_safe(world)
        assert dump(world) == reference(story).end
        assert summary(world) == reference(story).summary


@pytest.mark.parametrize("story", STORIES, ids=str)
def test_a_member_that_dies_is_started_again_or_the_run_stops(story: Story) -> None:
    """It has its data; whatever the run makes of it, the next plan converges."""
    for place in checkpoints(story):
        for which in (0, -1):
            world = story.build()

            def kill(world: FakeWorld = world, which: int = which) -> None:
                if world.serving():
                    world.kill(world.serving()[which])

            world.allow_outage = (
                True  # The cluster may be one failure from its end; the plan cannot know of this one.
            )
            _stops_or_ends(checkpoint(world, story, place, kill))
            converge(world, story)
            assert_safe(world)


@pytest.mark.parametrize("story", STORIES, ids=str)
def test_a_member_that_was_just_restarted_is_waited_for(story: Story) -> None:
    """For five seconds servers refuse changes ("unhealthy cluster"): the run waits, and ends as it would have."""
    for place in checkpoints(story):
        world = story.build()

        def restart(world: FakeWorld = world) -> None:
            if len(world.serving()) > 1:
                address = world.serving()[0]
                world.kill(address)
                world.start(address)

        attempt = checkpoint(world, story, place, restart)
        attempt.apply()
        assert_safe(world)
        assert dump(world) == reference(story).end
        assert summary(world) == reference(story).summary


@pytest.mark.parametrize("story", REPLACEMENTS, ids=str)
def test_a_failed_member_that_comes_back_is_fenced_or_the_plan_is_stale(story: Story) -> None:
    """Its host boots, its process wakes, or somebody starts it by hand."""
    for place in checkpoints(story):
        world = story.build()

        def come_back(world: FakeWorld = world) -> None:
            machine = world.machines["10.0.0.2"]
            if not machine.powered:
                world.boot("10.0.0.2")
            elif machine.etcd.process is not None:
                world.wake("10.0.0.2")
            elif machine.etcd.settings is not None:
                world.start("10.0.0.2")
            world.settle(3)

        _stops_or_ends(checkpoint(world, story, place, come_back))
        converge(world, story)
        assert_safe(world)


@pytest.mark.parametrize("story", STORIES, ids=str)
def test_a_member_added_by_hand_is_nobodys_business(story: Story) -> None:
    """The run refuses to go on beside it; when it is gone, the next plan converges."""
    for place in checkpoints(story):
        world = story.build()
        added: list[str] = []

        def add(world: FakeWorld = world, added: list[str] = added) -> None:
            cluster = _living(world)
            if cluster is None or cluster.leader is None or len(world.serving()) < len(cluster.members):
                return
            world.settle(6)
            via = cluster.leader
            member_add(world, via.machine, via.settings["advertise-client-urls"], "https://10.0.0.99:2380")
            world.react()
            added.append(via.machine.address)

        error = _stops_or_ends(checkpoint(world, story, place, add))
        if added:
            assert isinstance(error, RefusedError) or (error is None and place == checkpoints(story)[-1])
            cluster = _living(world)
            assert cluster is not None and cluster.leader is not None
            [foreign] = [member for member in cluster.members.values() if "10.0.0.99" in member.peer_url]
            via = cluster.leader
            member_remove(world, via.machine, via.settings["advertise-client-urls"], foreign.id)
            world.react()
        converge(world, story)
        assert_safe(world)


@pytest.mark.parametrize("story", STORIES, ids=str)
def test_flags_edited_by_hand_are_not_overwritten_unapproved(story: Story) -> None:
    """A setting on disk is another than what was seen: that change was not approved in this run."""
    for place in checkpoints(story):
        world = story.build()
        edited: list[int] = []

        def edit(world: FakeWorld = world, edited: list[int] = edited) -> None:
            unit = world.machines["10.0.0.1"].etcd
            if unit.settings is not None:
                unit.settings = {**unit.settings, "election-timeout": "1500"}
                edited.append(unit.starts)

        error = _stops_or_ends(checkpoint(world, story, place, edit))
        assert error is None or isinstance(error, StaleError)
        converge(world, story)
        assert_safe(world)
        assert (world.machines["10.0.0.1"].etcd.settings or {})["election-timeout"] == "1000"


@pytest.mark.parametrize("story", STORIES, ids=str)
def test_a_second_apply_at_once_is_turned_away_at_every_checkpoint(story: Story) -> None:
    """The first one does not notice."""
    for place in checkpoints(story):
        world = story.build()
        turned_away: list[int] = []

        def apply_too(world: FakeWorld = world, turned_away: list[int] = turned_away) -> None:
            other = Attempt(world, story.spec, machine="one")
            if other.plan().steps:
                with pytest.raises(LockHeldError) as caught:
                    other.apply()
                turned_away.append(caught.value.exit_code)

        attempt = checkpoint(world, story, place, apply_too)
        attempt.alive = True
        attempt.apply()
        assert turned_away == [4] or place == checkpoints(story)[-1]
        assert_safe(world)
        assert dump(world) == reference(story).end
        assert summary(world) == reference(story).summary


def test_a_host_that_was_silent_when_the_lock_was_taken_takes_part_when_it_is_back() -> None:
    """It gets the lock, and its etcd, which is no member any more, is taken out of service."""
    story = by_name("scale-5-3")
    world = story.build()
    world.cut_network("10.0.0.5")
    attempt = checkpoint(world, story, 1, lambda: world.restore_network("10.0.0.5"))
    attempt.apply()
    assert_safe(world)
    assert dump(world) == reference(story).end


@pytest.mark.parametrize("story", STORIES, ids=str)
def test_a_run_stops_where_it_is_told_to_and_is_resumed(story: Story) -> None:
    """The state is known, the exit code is 6, and the journal says that it stopped."""
    for place in checkpoints(story):
        world = story.build()
        attempt = checkpoint(world, story, place, lambda: None)
        attempt.stop = attempt.was_reached
        error = _stops_or_ends(attempt)
        if place == checkpoints(story)[-1]:
            assert error is None
        else:
            assert isinstance(error, StoppedError)
            assert attempt.steps_begun == place
            assert b"run-stopped" in b"".join(attempt.disk.files.values())
            Attempt(world, story.spec).resume()
        assert_safe(world)
        assert dump(world) == reference(story).end
        assert summary(world) == reference(story).summary


def _stops_or_ends(attempt: Attempt) -> EtcdplanError | None:
    try:
        attempt.apply()
    except EtcdplanError as error:
        return error
    return None


def test_what_is_down_is_started_when_the_others_wait_in_vain() -> None:
    """Three of five run, which could be a quorum; but one of them runs on an empty disk and has no vote to give."""
    world = founded(spec=make_spec(5))
    world.power_cut("10.0.0.5")
    world.lose_disk("10.0.0.5")
    world.kill("10.0.0.3")
    world.lose_disk("10.0.0.1")
    world.boot("10.0.0.5")
    world.settle(100)
    assert not world.serving()
    story = Story("in vain", make_spec(5), lambda: world)
    _stops_or_ends(Attempt(world, story.spec))
    assert "10.0.0.3" in world.serving()
    converge(world, story)
    assert_safe(world)
