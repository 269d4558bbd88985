"""When a holder counts as dead, what is ended in its name, and how it learns of it."""

from dataclasses import replace

import pytest

from etcdplan.apply.holder import Life, life
from etcdplan.apply.lock import STALE_AFTER, Waiting, acquire
from etcdplan.errors import LockHeldError, UnobservedError
from etcdplan.hosts.ports import Fenced, HostRefused
from tests.support.clock import VirtualClock
from tests.unit.apply.lock_world import (
    HOSTS,
    elsewhere,
    gone_from_here,
    here,
    lock_file,
    stores,
    take,
    void,
)
from tests.unit.apply.memory_store import MemoryStore


def test_a_dead_holder_of_this_machine_is_taken_over_at_once() -> None:
    world, dead, clock = stores(), gone_from_here(), VirtualClock()
    take(world, dead)
    with take(world, here(), clock) as lock:
        assert (lock.token, lock.taken_over) == (2, (dead,))
    assert clock.now == VirtualClock().now


def test_a_silent_holder_elsewhere_is_taken_over_after_thirty_seconds() -> None:
    world, clock, seen = stores(), VirtualClock(), list[Waiting]()
    dead = elsewhere()
    take(world, dead)
    started = clock.now
    lock = acquire([HOSTS], world, here(), clock=clock, progress=seen.append)
    assert lock.taken_over == (dead,)
    assert STALE_AFTER <= clock.now - started <= STALE_AFTER + 1
    assert [round(waiting.silent) for waiting in seen] == list(range(30))
    assert f"{seen[12]}" == f"{dead} has been silent for 12 s; after 30 s it counts as dead"


def test_the_clock_of_the_holder_is_not_trusted() -> None:
    world, clock = stores(), VirtualClock()
    take(world, elsewhere(), VirtualClock(start=0.0))
    with pytest.raises(LockHeldError, match="No heartbeat for 20 s; after 30 s it counts as dead"):
        take(world, here(), clock, wait=20.0)


@pytest.mark.parametrize("host", HOSTS)
def test_a_beating_holder_elsewhere_is_refused_at_its_next_beat(host: str) -> None:
    world, clock = stores(), VirtualClock()
    lock = take(world, elsewhere(), clock)
    for other in HOSTS:
        world[other].full = other != host  # its beat reaches one host only
    started = clock.now
    clock.at(started + 4.5, lambda: void(lock.beat()))
    with pytest.raises(LockHeldError, match="runner2"):
        take(world, here(), clock)
    assert clock.now - started == 5


def test_a_beat_between_the_last_look_and_the_write_wins() -> None:
    world, clock = stores(), VirtualClock()
    lock = take(world, elsewhere(), clock)
    started = clock.now

    def called(name: str) -> None:
        if name == "replace" and clock.now - started >= STALE_AFTER:
            world["h1"].called = lambda _: None
            lock.beat()

    world["h1"].called = called
    with pytest.raises(LockHeldError, match="at the same moment"):
        take(world, here(), clock)
    lock.check()


def test_slow_answers_do_not_count_as_silence() -> None:
    """Reading takes 20 s here; only the time between the end of one reading and the start of the next counts."""
    world, clock = stores(), VirtualClock()
    take(world, elsewhere(), clock)
    started = clock.now
    world["h3"].called = lambda name: clock.sleep(20.0) if name == "read" else None
    acquire([HOSTS], world, here(), clock=clock, wait=200.0)
    # Readings end at 20, 41, 62 and start at 21, 42; the one that starts at 63 has seen 43 s of silence.
    assert clock.now - started >= 20 + STALE_AFTER + 20


def test_a_new_holder_while_waiting_gets_his_own_thirty_seconds() -> None:
    world, clock = stores(), VirtualClock()
    first = take(world, elsewhere(), clock)
    started = clock.now
    clock.at(started + 19.5, first.release)
    clock.at(started + 19.5, lambda: void(take(world, elsewhere(), clock)))
    with pytest.raises(LockHeldError, match="No heartbeat for 15 s"):
        take(world, here(), clock)


def test_a_holder_in_another_container_of_this_machine_is_elsewhere() -> None:
    """It has the same boot ID, and a PID that means nothing here."""
    world = stores()
    take(world, replace(gone_from_here(), pid_namespace="pid:[1]"))
    with pytest.raises(LockHeldError, match="No heartbeat"):
        take(world, here(), wait=5.0)


def test_a_frozen_holder_of_this_machine_is_not_taken_over() -> None:
    world = stores()
    take(world, here())
    with pytest.raises(LockHeldError, match="is stopped") as caught:
        acquire([HOSTS], world, here(), clock=VirtualClock(), look=lambda _, __: Life.FROZEN)
    assert f"kill -CONT {here().pid}" in caught.value.hint


def test_an_absurd_pid_is_nobody() -> None:
    world = stores()
    take(world, replace(here(), pid=10**30))
    assert take(world, here()).token == 2


def test_whoever_was_taken_over_is_told() -> None:
    world, clock = stores(), VirtualClock()
    old = take(world, elsewhere(), clock)
    new = take(world, here(), clock)
    after = {name: dict(store.files) for name, store in world.items()}
    for attempt in (old.check, old.beat, old.check):
        with pytest.raises(Fenced, match="taken over by") as caught:
            attempt()
        assert caught.value.exit_code == 4
    old.release()
    assert {name: store.files for name, store in world.items()} == after
    new.check()


def test_one_newer_token_is_enough_to_stop() -> None:
    world, clock = stores(), VirtualClock()
    old = take(world, elsewhere(), clock)
    acquire([("h2",)], {"h2": world["h2"]}, here(), clock=clock)
    with pytest.raises(Fenced):
        old.beat()
    assert lock_file(world["h2"])["token"] == 2


def test_the_sessions_of_a_dead_holder_are_ended_on_all_hosts_that_have_the_new_lock() -> None:
    world = stores()
    take(world, gone_from_here())
    for store in world.values():
        store.called = lambda name: void(None if name != "end_sessions" else every_host_has(world, 2))
    with take(world, here()):
        assert [store.ended for store in world.values()] == [[2]] * 3
    assert [lock_file(store)["hosts"] for store in world.values()] == [[]] * 3


def every_host_has(world: dict[str, MemoryStore], token: int) -> None:
    assert [lock_file(store)["token"] for store in world.values()] == [token] * len(world)


def test_a_host_that_a_dead_holder_may_still_use_must_answer() -> None:
    world = stores()
    take(world, gone_from_here())
    world["h3"].up = False
    before = {name: dict(store.files) for name, store in world.items()}
    with pytest.raises(
        UnobservedError, match=r"may be frozen(.|\n)*cannot be ended on:\nh3: does not answer"
    ):
        take(world, here())
    assert {name: store.files for name, store in world.items()} == before
    lock = acquire([HOSTS], world, here(), clock=VirtualClock(), gone=("h3",))
    assert [store.ended for store in world.values()] == [[2], [2], []]
    lock.release()
    world["h3"].up = True
    with take(world, here()) as lock:
        assert lock.token == 3
        assert world["h3"].ended == [3], "it is ended when the host is back"


def test_sessions_that_could_not_be_ended_are_left_to_the_next() -> None:
    world = stores()
    take(world, gone_from_here())

    def called(name: str) -> None:
        if name == "end_sessions":
            raise HostRefused("the process does not end")

    world["h2"].called = called
    with pytest.raises(UnobservedError, match="h2: the process does not end"):
        take(world, here())
    assert [lock_file(store)["held"] for store in world.values()] == [False] * 3
    world["h2"].called = lambda _: None
    with take(world, here()) as lock:
        assert (lock.taken_over, world["h2"].ended) == ((), [3])


def test_a_host_that_only_the_dead_holder_knew_is_asked_too() -> None:
    everywhere = stores("h1", "h2", "h3", "h9")
    acquire([("h1", "h2", "h3", "h9")], everywhere, gone_from_here(), clock=VirtualClock())
    world = {name: everywhere[name] for name in HOSTS}
    acquire([HOSTS], world, here(), clock=VirtualClock(), reach=everywhere.__getitem__).release()
    assert everywhere["h9"].ended == [2]
    acquire([("h1", "h2", "h3", "h9")], everywhere, gone_from_here(), clock=VirtualClock())
    everywhere["h9"].up = False
    with acquire([HOSTS], world, here(), clock=VirtualClock(), reach=everywhere.__getitem__) as lock:
        assert lock.token == 4, "nobody wants that host any more, and it does not answer"


def test_this_process_lives() -> None:
    assert life(here(), here()) is Life.RUNNING
    assert life(gone_from_here(), here()) is Life.DEAD
    assert life(elsewhere(), here()) is Life.ELSEWHERE
    assert life(replace(here(), pid=1, pid_started=0), here()) is Life.DEAD
    assert here().id != here().id
