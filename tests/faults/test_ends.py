"""What every story ends with, and that nothing is done where nothing is to be done."""

import json
import re

import pytest

from etcdplan.apply.failpoints import LastWords
from etcdplan.apply.journal import read_journal
from tests.faults.attempts import Attempt
from tests.faults.stories import CORE, MORE, Story
from tests.support.fake_etcd import FakeCluster
from tests.support.fake_machine import FakeMachine
from tests.support.fake_world import FakeWorld

EVERY_STORY = (*CORE, *MORE)


def _ended(story: Story) -> tuple[FakeWorld, Attempt]:
    world = story.build()
    attempt = Attempt(world, story.spec)
    attempt.apply()
    return world, attempt


@pytest.mark.parametrize("story", EVERY_STORY, ids=str)
def test_a_second_apply_does_nothing_at_all(story: Story) -> None:
    """No step, no effect, no lock, no line in a journal; hosts are as they were, byte by byte."""
    world, _ = _ended(story)
    before = {address: dict(machine.files) for address, machine in world.machines.items()}
    effects = len(world.effects_log)
    for again in (Attempt(world, story.spec), Attempt(world, story.spec)):
        assert again.apply() == 0
        assert again.resume() == 0
        assert not again.disk.files
    assert len(world.effects_log) == effects
    assert {address: machine.files for address, machine in world.machines.items()} == before


@pytest.mark.parametrize("story", EVERY_STORY, ids=str)
def test_hosts_remember_the_cluster_as_it_is_now(story: Story) -> None:
    """With all processes down, this is all that is left to know."""
    world, attempt = _ended(story)
    [cluster] = [cluster for cluster in world.clusters if cluster.id not in world.replaced]
    for address in attempt.target.hosts():
        assert _remembered(world.machines[address]) == _members(cluster), address
        assert set(json.loads(world.machines[address].files["record.json"])["hosts"]) == {
            *attempt.target.member_hosts,
            *attempt.target.backup_hosts,
        }
    for address in world.machines.keys() - set(attempt.target.hosts()):
        assert world.machines[address].record is None or not world.machines[address].reachable


def _remembered(machine: FakeMachine) -> set[tuple[int, str, str, bool]]:
    assert machine.record is not None
    members = json.loads(machine.record)["members"]
    return {(member["id"], member["name"], member["peer_url"], member["learner"]) for member in members}


def _members(cluster: FakeCluster) -> set[tuple[int, str, str, bool]]:
    return {(m.id, m.name, m.peer_url, m.learner) for m in cluster.members.values()}


@pytest.mark.parametrize("story", EVERY_STORY, ids=str)
def test_the_journal_tells_the_whole_run_on_every_disk(story: Story) -> None:
    """The copies are the same; each effect was announced, each step was done, and the run was ended."""
    world, attempt = _ended(story)
    [journal] = attempt.disk.files.values()
    for address in attempt.target.hosts():
        copies = [
            content for name, content in world.machines[address].files.items() if name.startswith("journal/")
        ]
        assert copies == [journal]
    types = [record.type for record in read_journal(journal).records]
    assert types[0] == "run-started"
    assert types[-1] == "run-ended"
    assert types.count("step-intent") == types.count("step-done") == attempt.steps_begun
    assert types.count("effect-intent") == types.count("effect-result") >= len(world.effects_log)
    assert not [machine.address for machine in world.machines.values() if _holds(machine)]


def _holds(machine: FakeMachine) -> bool:
    lock = machine.files.get("lock.json")
    return lock is not None and bool(json.loads(lock)["held"])


class WriteAhead:
    """At each effect: its announcement is the last line of the journal, on the runner and on most hosts."""

    def __init__(self) -> None:
        self.attempt: Attempt | None = None
        self.effects = 0

    def hit(self, name: str, label: str, last_words: LastWords) -> None:
        """Look at the journals."""
        assert self.attempt is not None
        if not name.endswith("before"):
            return
        self.effects += 1
        number = int(name.split(":")[1])
        [journal] = self.attempt.disk.files.values()
        last = read_journal(journal).records[-1]
        assert last.type == "effect-intent"
        assert str(last.body["effect"]).endswith(f"-{number:05d}")
        hosts = [machine for machine in self.attempt.world.machines.values() if machine.reachable]
        copies = [machine for machine in hosts if journal in machine.files.values()]
        assert 2 * len(copies) > len(self.attempt.target.hosts())


@pytest.mark.parametrize("story", EVERY_STORY, ids=str)
def test_an_effect_is_announced_before_it_happens(story: Story) -> None:
    """Durably: on the runner and on a majority of the hosts."""
    ahead = WriteAhead()
    world = story.build()
    ahead.attempt = Attempt(world, story.spec, failpoint=ahead)
    ahead.attempt.apply()
    assert ahead.effects >= len(world.effects_log)


@pytest.mark.parametrize("story", EVERY_STORY, ids=str)
def test_no_effect_is_claimed_twice(story: Story) -> None:
    """Each has an ID of its own, which its host keeps."""
    world, _ = _ended(story)
    claims = [
        name.removeprefix("effects/")
        for machine in world.machines.values()
        for name in machine.files
        if name.startswith("effects/")
    ]
    assert len(claims) == len(set(claims)) >= len(world.effects_log)
    assert all(re.fullmatch(r"\d{8}-\w+-\d{5}", claim) for claim in claims)
