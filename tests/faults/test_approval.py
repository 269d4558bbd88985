"""Only approved steps are done: a changed world, a changed spec or a shorter approval stops before the first other."""

import re
from collections.abc import Callable

import pytest

from etcdplan.apply import lock, session
from etcdplan.apply.approved import groups_of
from etcdplan.errors import RefusedError, StaleError, UnobservedError
from etcdplan.planner.document import PlanDocument
from tests.faults.attempts import Attempt
from tests.faults.boundaries import At, lose_the_reply, reference
from tests.faults.stories import Story, by_name
from tests.support.fake_world import FakeWorld

STORIES = tuple(map(by_name, ("bootstrap-3-1api", "replace-disk-api", "scale-3-5", "rolling")))

CHANGES: dict[str, tuple[Callable[[FakeWorld], object], str]] = {
    "a member died": (lambda world: world.kill("10.0.0.1"), "10.0.0.1/etcd/process"),
    "data lost": (lambda world: world.lose_disk("10.0.0.1"), "host/10.0.0.1/data"),
    "settings": (lambda world: _edit(world, "10.0.0.1"), "host/10.0.0.1/etcd/settings"),
    "an API server died": (
        lambda world: world.kill("10.0.0.11", "apiserver/cp1"),
        "10.0.0.11/apiserver/cp1/process",
    ),
    "host gone": (lambda world: world.cut_network("10.0.0.11"), "host/10.0.0.11: "),
    "healed": (lambda world: world.start("10.0.0.2"), "member/https://10.0.0.2:2380"),
}


def _edit(world: FakeWorld, address: str) -> None:
    unit = world.machines[address].etcd
    unit.settings = {**(unit.settings or {}), "election-timeout": "2000"}


@pytest.mark.parametrize("what", CHANGES)
def test_a_saved_plan_is_stale_when_the_world_changed_and_says_where(what: str) -> None:
    """Nothing is done. A cluster that lost its quorum, or a host that is needed and does not answer, is refused."""
    change, named = CHANGES[what]
    story = by_name("down")
    world = story.build()
    document = Attempt(world, story.spec).document()
    change(world)
    world.settle(12)
    with pytest.raises((StaleError, RefusedError, UnobservedError)) as caught:
        Attempt(world, story.spec).session().apply(document)
    assert isinstance(caught.value, StaleError)
    assert named in caught.value.message
    assert not world.effects_log


def test_a_plan_of_another_spec_is_stale() -> None:
    """Also when its steps would be the same."""
    world = by_name("down").build()
    document = Attempt(world, by_name("rolling").spec).document()
    with pytest.raises(StaleError, match="another spec"):
        Attempt(world, by_name("down").spec).session().apply(document)
    assert not world.effects_log


def test_a_plan_that_changed_while_the_lock_was_waited_for_is_stale() -> None:
    """The second check, under the lock, is the one that counts."""
    story = by_name("down")
    world = story.build()
    document = Attempt(world, story.spec).document()
    attempt = Attempt(world, story.spec)

    def acquire_late(*args: object, **kwargs: object) -> object:
        held = lock.acquire(*args, **kwargs)  # type: ignore[arg-type]
        _edit(world, "10.0.0.1")
        return held

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "acquire", acquire_late)
        with pytest.raises(StaleError, match=r"10\.0\.0\.1/etcd/settings"):
            attempt.session().apply(document)
    assert not world.effects_log


@pytest.mark.parametrize("story", STORIES, ids=str)
def test_a_step_that_was_not_approved_is_not_begun(story: Story) -> None:
    """Each step in turn is missing from what was approved: the run stops before it and has no effect of it."""
    steps = [step for group in groups_of(Attempt(story.build(), story.spec).document()) for step in group]
    for missing in steps:
        world = story.build()
        attempt = Attempt(world, story.spec)

        def fewer(document: PlanDocument, missing: str = missing) -> tuple[tuple[str, ...], ...]:
            groups = (tuple(step for step in group if step != missing) for group in groups_of(document))
            return tuple(group for group in groups if group)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(session, "groups_of", fewer)
            with pytest.raises(StaleError, match="was not approved"):
                attempt.apply()
        begun = re.findall(rb'"step-intent","body":\{"step":"([^"]+)"', b"".join(attempt.disk.files.values()))
        assert missing.encode() not in begun
        assert len(begun) == attempt.steps_begun
        Attempt(world, story.spec, machine="one").apply()
        assert not world.violations


def test_an_approval_is_used_up() -> None:
    """A member that is replaced and fails again before the run ends is not replaced again by a resume."""
    story = by_name("replace-disk-api")
    steps = dict(zip(reference(story).hits, reference(story).steps, strict=True))
    late = next(
        name for (name, label), step in steps.items() if label.startswith("write_settings") and step > 5
    )
    world = story.build()
    attempt = Attempt(world, story.spec, failpoint=At(late, lambda label: 1 / 0), machine="one")
    with pytest.raises(ZeroDivisionError):
        attempt.apply()
    world.lose_disk("10.0.0.2")
    world.settle(5)
    effects = len(world.effects_log)
    with pytest.raises(StaleError, match="was not approved"):
        Attempt(world, story.spec, machine="one").resume()
    assert all(done.effect == "write_record" for done in world.effects_log[effects:])
    Attempt(world, story.spec, machine="one").apply()
    assert not world.violations
    assert world.members_added["https://10.0.0.2:2380"] == 2


def test_a_resume_is_of_the_same_spec_or_it_is_stale() -> None:
    """The hosts know what was approved."""
    story = by_name("scale-3-5")
    world = story.build()
    with pytest.raises(ZeroDivisionError):
        Attempt(world, story.spec, failpoint=At("effect:9:before", lambda label: 1 / 0)).apply()
    effects = len(world.effects_log)
    with pytest.raises(StaleError, match="another spec"):
        Attempt(world, by_name("scale-1-3").spec).resume()
    assert len(world.effects_log) == effects
    assert Attempt(world, story.spec).resume()


def test_without_an_unfinished_run_there_is_nothing_to_resume() -> None:
    """Whether nothing was ever begun, or all of it was ended."""
    story = by_name("down")
    world = story.build()
    with pytest.raises(StaleError, match="No unfinished run"):
        Attempt(world, story.spec).resume()
    Attempt(world, story.spec).apply()
    assert Attempt(world, story.spec).resume() == 0
    world.kill("10.0.0.1")
    with pytest.raises(StaleError, match="No unfinished run"):
        Attempt(world, story.spec).resume()


def test_a_lost_reply_that_never_comes_true_ends_the_run() -> None:
    """The same step is not begun forever."""
    story = by_name("down")
    world = story.build()

    class Always:
        def hit(self, name: str, label: str, last_words: object) -> None:
            if name.endswith("before"):
                lose_the_reply(label)

    with pytest.raises(Exception, match="was begun 4 times and does not hold") as caught:
        Attempt(world, story.spec, failpoint=Always()).apply()
    assert getattr(caught.value, "exit_code", 0) == 6
    assert not world.effects_log
