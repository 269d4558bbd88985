"""A lock that is held: its heartbeat, the hosts that get it later, its release."""

import time
from collections.abc import Callable

import pytest

from etcdplan.apply.heartbeat import Heartbeat
from etcdplan.errors import UnobservedError
from etcdplan.hosts.ports import LOCK_FILE, Fenced
from tests.support.clock import VirtualClock
from tests.unit.apply.lock_world import HOSTS, elsewhere, here, lock_file, stores, take
from tests.unit.apply.memory_store import MemoryStore


def test_beats_count_and_reach_hosts_that_missed_the_start() -> None:
    world, clock = stores(), VirtualClock()
    world["h3"].up = False
    lock = take(world, here(), clock)
    world["h3"].up = True
    clock.sleep(5)
    assert lock.beat() == set(HOSTS)
    assert lock.beat() == set(HOSTS)
    for store in world.values():
        content = lock_file(store)
        assert (content["token"], content["heartbeat"]) == (1, 2)
        assert content["acquired"] == "2026-01-01T00:00:00Z"
        assert content["heartbeat_time"] == "2026-01-01T00:00:05Z"
    world["h1"].up = False
    world["h2"].guarded = True
    assert lock.beat() == {"h3"}


def test_a_lock_that_a_majority_does_not_confirm_is_not_relied_on() -> None:
    world = stores()
    lock = take(world, here())
    world["h1"].up = False
    lock.check()
    del world["h2"].files[LOCK_FILE]
    with pytest.raises(UnobservedError, match="h2: does not have our lock"):
        lock.check()
    assert lock.beat() == {"h2", "h3"}
    lock.check()
    world["h2"].up = False
    with pytest.raises(UnobservedError):
        lock.check()


def test_a_late_host_is_named_on_a_majority_before_it_gets_the_lock() -> None:
    everywhere = stores("h1", "h2", "h3", "h4")
    world = {name: everywhere[name] for name in HOSTS}
    lock = take(world, here())

    def called(name: str) -> None:
        if name == "replace":
            assert [lock_file(store)["hosts"] for store in world.values()] == [["h1", "h2", "h3", "h4"]] * 3

    everywhere["h4"].called = called
    lock.spread(everywhere)
    assert lock_file(everywhere["h4"])["token"] == 1
    everywhere["h4"].called = lambda _: None
    world["h1"].up = world["h2"].up = False
    everywhere["h5"] = MemoryStore("h5")
    with pytest.raises(UnobservedError, match="h1: does not take our lock"):
        lock.spread(everywhere)
    assert everywhere["h5"].files == {}


def test_a_host_that_comes_later_gets_the_lock() -> None:
    world = stores("h1", "h2", "h3", "h4")
    known = {name: world[name] for name in HOSTS}
    world["h3"].up = False
    with take(known, here()) as lock:
        world["h3"].up = True
        lock.check()
        lock.spread(world)
        assert [lock_file(store)["token"] for store in world.values()] == [1, 1, 1, 1]
    assert not any(lock_file(store)["held"] for store in world.values())


def test_a_host_that_comes_later_with_a_newer_lock_ends_the_run() -> None:
    world = stores("h1", "h2", "h3", "h4")
    for _ in range(2):
        take({"h4": world["h4"]}, here()).release()
    with take({name: world[name] for name in HOSTS}, here()) as lock:
        lock.check()
        with pytest.raises(Fenced):
            lock.spread(world)
    assert lock_file(world["h4"])["token"] == 2


def test_a_release_passes_over_hosts_that_fail() -> None:
    world = stores()
    with take(world, here()):
        world["h1"].up = False
        world["h2"].full = True
    world["h1"].up = True
    assert [lock_file(world[host])["held"] for host in HOSTS] == [True, True, False]


def test_a_beat_after_the_release_does_not_take_the_lock_back() -> None:
    world = stores()
    lock = take(world, here())
    lock.release()
    assert lock.beat() == set()
    assert lock_file(world["h1"])["held"] is False


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.005)


def test_the_heartbeat_thread_beats_and_ends() -> None:
    world = stores()
    with take(world, here()) as lock, Heartbeat(lock, interval=0.01) as heartbeat:
        wait_until(lambda: lock_file(world["h3"])["heartbeat"] == 3)
        assert heartbeat.running
    assert not heartbeat.running
    assert lock_file(world["h3"])["held"] is False


def test_the_heartbeat_thread_ends_when_another_holder_came() -> None:
    world = stores()
    with take(world, elsewhere()) as lock, Heartbeat(lock, interval=0.01) as heartbeat:
        world["h1"].files[LOCK_FILE] = world["h1"].files[LOCK_FILE].replace(b'"token": 1', b'"token": 2')
        wait_until(lambda: not heartbeat.running)
        with pytest.raises(Fenced):
            lock.check()
