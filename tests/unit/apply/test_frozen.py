"""A member is frozen only where the cluster tolerates it, under the lock, and thawed whatever becomes of the rest."""

import json

import pytest

from etcdplan.apply.frozen import LONGEST, Volumes, snapshot_volumes
from etcdplan.backup.source import choose_member
from etcdplan.errors import OutcomeUnknownError, RefusedError, StoppedError
from etcdplan.hosts.ports import LOCK_FILE, HostRefused
from tests.support.fake_runs import Runner
from tests.support.fake_world import FakeWorld
from tests.support.scenarios import founded, make_spec


def world_of(members: int = 3, **etcd: object) -> tuple[FakeWorld, Runner]:
    spec = make_spec(members, etcd={"version": "3.6.16", **etcd})
    world = founded(spec=spec).settle()
    return world, Runner(world, spec)


def frozen(world: FakeWorld) -> dict[str, int]:
    return {address: machine.frozen for address, machine in world.machines.items() if machine.frozen}


def locked(world: FakeWorld) -> bool:
    locks = (machine.files.get(LOCK_FILE) for machine in world.machines.values())
    return any(json.loads(lock)["held"] for lock in locks if lock)


def test_it_is_a_follower_and_everything_is_as_before_afterwards() -> None:
    world, runner = world_of()
    seen: list[Volumes] = []

    def take(volumes: Volumes) -> None:
        seen.append(volumes)
        assert locked(world)
        assert frozen(world) == {volumes.host: 15}

    taken, seconds = snapshot_volumes(runner.session(), choose_member, 10, take)
    assert seen == [taken]
    assert taken.host != world.leader()
    assert taken.mounts == ("/var/lib/etcd",)
    assert seconds >= 0
    assert not frozen(world)
    assert not locked(world)


def never(_: Volumes) -> None:
    raise AssertionError("nothing may be taken")


@pytest.mark.parametrize("error", [StoppedError("the hook failed"), KeyboardInterrupt(), OSError("x")])
def test_it_is_thawed_whatever_becomes_of_what_takes_the_snapshot(error: BaseException) -> None:
    world, runner = world_of()

    def take(_: Volumes) -> None:
        raise error

    with pytest.raises(type(error)):
        snapshot_volumes(runner.session(), choose_member, 10, take)
    assert not frozen(world)
    assert not locked(world)


def test_what_was_thawed_before_is_no_snapshot() -> None:
    world, runner = world_of()

    def take(volumes: Volumes) -> None:
        world.machines[volumes.host].frozen = 0

    with pytest.raises(HostRefused, match="thawed before") as raised:
        snapshot_volumes(runner.session(), choose_member, 10, take)
    assert "is no snapshot; remove it" in raised.value.hint


def test_a_lost_reply_to_the_thaw_is_said_with_what_to_look_at() -> None:
    world, runner = world_of()
    world.lose_reply("thaw_data", happens=False)
    with pytest.raises(OutcomeUnknownError) as raised:
        snapshot_volumes(runner.session(), choose_member, 10, lambda _: None)
    assert "fsfreeze --unfreeze /var/lib/etcd on 10.0.0." in raised.value.hint


def test_longer_than_the_limit_is_refused_before_anything_is_done() -> None:
    world, runner = world_of()
    with pytest.raises(RefusedError, match=f"frozen for {LONGEST} s at most, and the hook may take 25.5 s"):
        snapshot_volumes(runner.session(), choose_member, LONGEST + 0.5, never)
    assert not world.effects_log


def test_a_cluster_that_tolerates_nothing_is_not_frozen() -> None:
    world, runner = world_of()
    world.kill("10.0.0.1")
    world.machines["10.0.0.1"].units["etcd"].held = True
    with pytest.raises(RefusedError, match="the cluster tolerates no failure"):
        snapshot_volumes(runner.session(), choose_member, 10, never)
    assert not world.effects_log
    assert not locked(world)


def test_one_member_alone_is_frozen_only_when_the_outage_is_declared() -> None:
    world, runner = world_of(1)
    with pytest.raises(RefusedError, match="tolerates no failure") as raised:
        snapshot_volumes(runner.session(), choose_member, 10, never)
    assert "etcd.allowOutage" in raised.value.hint
    assert not world.effects_log

    world, runner = world_of(1, allowOutage=True)
    snapshot_volumes(runner.session(), choose_member, 10, lambda _: None)
    assert [done.effect for done in world.effects_log] == ["freeze_data", "thaw_data"]
