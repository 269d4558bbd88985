"""What may befall one effect, tried at each of them: a lost reply, a refusal, a lost host, a new controller."""

from collections.abc import Callable, Iterator
from functools import partial

import pytest

from etcdplan.apply.holder import Holder, Life
from etcdplan.apply.lock import acquire
from etcdplan.errors import EtcdplanError
from etcdplan.hosts.ports import Fenced, HostRefused
from tests.faults.attempts import NO_PROCESS, Attempt
from tests.faults.boundaries import At, host_of_effect, lose_the_reply, reference
from tests.faults.outcome import dump, summary
from tests.faults.stories import Story, by_name
from tests.support.fake_world import FakeWorld

STORIES = tuple(
    map(
        by_name,
        (
            "bootstrap-3-1api",
            "replace-disk-api",
            "replace-new-host",
            "scale-1-3",
            "scale-5-3",
            "rolling",
            "bootstrap-3-archive",
            "replace-disk-backed",
        ),
    )
)
FEW = tuple(
    map(by_name, ("bootstrap-3", "replace-disk-api", "replace-own", "scale-1-3", "scale-3-1", "renewal"))
)


def each(story: Story, phase: str) -> Iterator[tuple[str, str]]:
    """Yield the boundaries of one phase, and what happens there."""
    return (hit for hit in reference(story).effects if hit[0].endswith(phase))


def begin(story: Story, name: str, happens: Callable[[FakeWorld, str], object]) -> tuple[FakeWorld, Attempt]:
    """Return a world, and an attempt in which something happens at a boundary."""
    world = story.build()
    failpoint = At(name, lambda label: happens(world, label))
    return world, Attempt(world, story.spec, failpoint=failpoint, machine="one")


def assert_same_end(story: Story, world: FakeWorld, what: str) -> None:
    """Assert that a story ended as it does undisturbed, with the same effects."""
    wanted = reference(story)
    assert not world.violations, what
    assert world.writes_lost() == 0, what
    assert dump(world) == wanted.end, what
    assert summary(world) == wanted.summary, what
    assert not Attempt(world, story.spec).plan().steps, what


def stops(attempt: Attempt, *codes: int) -> EtcdplanError | None:
    """Apply; return the error that it stops with, which has one of these exit codes."""
    try:
        attempt.apply()
    except EtcdplanError as error:
        assert error.exit_code in codes, f"{type(error).__name__}: {error}"
        return error
    return None


@pytest.mark.parametrize("phase", ["before", "after"])
@pytest.mark.parametrize("story", STORIES, ids=str)
def test_after_a_lost_reply_the_run_looks_and_goes_on(story: Story, phase: str) -> None:
    """Whether the effect happened or not: the same run reaches the same end, and nothing is done twice."""
    labels = [label for _, label in each(story, "before")]
    for name, label in each(story, phase):
        world = story.build()
        failpoint = At(name, lose_the_reply)
        steps = Attempt(world, story.spec, failpoint=failpoint, machine="one").apply()
        assert_same_end(story, world, f"{name} {label}")
        assert steps == max(reference(story).steps), f"{name} {label}"
        # A key whose request was lost is of no use: another is made.
        if not label.startswith("make_leaf_key"):
            calls = labels.count(label) + (phase == "before")
            assert failpoint.labels.count(label) <= calls, f"{name} {label}"


@pytest.mark.parametrize("story", FEW, ids=str)
def test_what_a_host_refuses_stops_the_run_and_is_done_by_the_next(story: Story) -> None:
    """Nothing happened, and the run says so."""

    def refuse(world: FakeWorld, label: str) -> None:
        raise HostRefused("No space left on device.")

    for name, label in each(story, "before"):
        world, attempt = begin(story, name, refuse)
        assert stops(attempt, 6) is not None
        Attempt(world, story.spec, machine="one").resume()
        assert_same_end(story, world, f"{name} {label}")


@pytest.mark.parametrize("story", FEW, ids=str)
def test_a_full_disk_stops_the_run_until_there_is_room(story: Story) -> None:
    """The journal on that host is lost, too."""
    for name, label in each(story, "before"):
        world, attempt = begin(story, name, lambda world, label: world.fill_disk(host_of_effect(label)))
        assert stops(attempt, 6) is not None
        world.machines[host_of_effect(label)].full = False
        Attempt(world, story.spec, machine="one").resume()
        assert_same_end(story, world, f"{name} {label}")


@pytest.mark.parametrize("phase", ["before", "after"])
@pytest.mark.parametrize("story", FEW, ids=str)
def test_a_host_that_goes_out_of_reach_stops_the_run_until_it_is_back(story: Story, phase: str) -> None:
    """A host that the spec does not need any more may stay away."""
    for name, label in each(story, phase):
        world, attempt = begin(story, name, lambda world, label: world.cut_network(host_of_effect(label)))
        stopped = stops(attempt, 6, 7, 8) is not None
        world.restore_network(host_of_effect(label))
        if stopped:
            Attempt(world, story.spec, machine="one").resume()
        assert_same_end(story, world, f"{name} {label}")


@pytest.mark.parametrize("phase", ["before", "after"])
@pytest.mark.parametrize("story", FEW, ids=str)
def test_a_controller_that_was_replaced_changes_nothing_any_more(story: Story, phase: str) -> None:
    """It was frozen and taken for dead; when it goes on, every host has a newer token."""
    for name, label in each(story, phase):
        happened: list[int] = []
        world, attempt = begin(story, name, partial(_take_over, happened))
        error = stops(attempt, 4)
        if error is None:
            assert (name, label) == reference(story).effects[-1]  # It had nothing left to do.
            continue
        assert isinstance(error, Fenced), f"{name} {label}"
        assert [len(world.effects_log)] == happened, f"{name} {label}"
        Attempt(world, story.spec, machine="elsewhere").resume()
        assert_same_end(story, world, f"{name} {label}")


def _take_over(happened: list[int], world: FakeWorld, label: str) -> None:
    hosts = world.controller("other")
    stores = {
        address: hosts.host(address).store for address, machine in world.machines.items() if machine.reachable
    }
    holder = Holder("other", "elsewhere", "test", NO_PROCESS, 1, "elsewhere", "elsewhere", "apply")
    acquire([stores], stores, holder, clock=world.clock, look=lambda who, me: Life.DEAD)
    happened.append(len(world.effects_log))
