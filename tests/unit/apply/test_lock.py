"""The lock, one case at a time; many contenders are in test_lock_soak.py, real processes in test_lock_processes.py."""

import contextlib
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from etcdplan.apply.heartbeat import Heartbeat
from etcdplan.apply.holder import Holder, Life, life
from etcdplan.apply.lock import STALE_AFTER, Lock, Waiting, acquire
from etcdplan.errors import LockHeldError, UnobservedError
from etcdplan.hosts.ports import LOCK_FILE, Fenced, HostRefused
from tests.support.clock import VirtualClock
from tests.unit.apply.memory_store import MemoryStore

HOSTS = ("h1", "h2", "h3")


def stores(*names: str) -> dict[str, MemoryStore]:
    return {name: MemoryStore(name) for name in names or HOSTS}


def here() -> Holder:
    return Holder.here("etcdplan apply prod.yaml")


def elsewhere() -> Holder:
    return replace(here(), host="runner2", boot_id="another boot")


def gone_from_here() -> Holder:
    """A holder of this machine whose process has ended: its PID is another process's now."""
    return replace(here(), pid_started=1)


def lock_file(store: MemoryStore) -> dict[str, object]:
    content: dict[str, object] = json.loads(store.files[LOCK_FILE])
    return content


def take(
    world: dict[str, MemoryStore], holder: Holder, clock: VirtualClock | None = None, wait: float = 35.0
) -> Lock:
    return acquire([tuple(world)], world, holder, clock=clock or VirtualClock(), wait=wait)


def test_the_file_says_who_and_since_when() -> None:
    world, holder = stores(), here()
    with take(world, holder) as lock:
        assert lock.token == 1
        assert lock.taken_over == ()
        for store in world.values():
            content = lock_file(store)
            assert list(content) == [
                "format",
                "token",
                "held",
                "holder",
                "acquired",
                "heartbeat",
                "heartbeat_time",
                "hosts",
            ]
            assert content["hosts"] == list(HOSTS)
            assert (content["format"], content["token"], content["held"]) == (1, 1, True)
            assert content["acquired"] == content["heartbeat_time"] == "2026-01-01T00:00:00Z"
            assert content["holder"] == {
                "id": holder.id,
                "host": holder.host,
                "user": holder.user,
                "pid": holder.pid,
                "pid_started": holder.pid_started,
                "boot_id": holder.boot_id,
                "pid_namespace": holder.pid_namespace,
                "command": "etcdplan apply prod.yaml",
            }
    for store in world.values():
        assert (lock_file(store)["held"], lock_file(store)["token"]) == (False, 1)
        assert lock_file(store)["hosts"] == []
        assert store.ended == [], "nobody was there before"


def test_every_acquisition_has_a_larger_token() -> None:
    world = stores()
    for expected in (1, 2, 3):
        with take(world, here()) as lock:
            assert lock.token == expected
    world["h2"].files[LOCK_FILE] = world["h2"].files[LOCK_FILE].replace(b'"token": 3', b'"token": 41')
    with take(world, here()) as lock:
        assert lock.token == 42


def test_a_living_holder_is_named_and_nothing_changes() -> None:
    world, clock = stores(), VirtualClock()
    with take(world, here()):
        before = {name: dict(store.files) for name, store in world.items()}
        with pytest.raises(LockHeldError) as caught:
            take(world, here(), clock)
        assert {name: store.files for name, store in world.items()} == before
    assert (
        f"process {here().pid} (etcdplan apply prod.yaml) since 2026-01-01T00:00:00Z" in caught.value.message
    )
    assert f"end process {here().pid} on {here().host}" in caught.value.hint
    assert clock.now == VirtualClock().now, "a holder known to live is not waited for"


def test_a_holder_on_one_host_only_is_respected() -> None:
    """It may be about to win, or hold the majority of another set of hosts."""
    world = stores()
    take({"h3": world["h3"]}, here())
    with pytest.raises(LockHeldError):
        take(world, here())


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


def void(_: object) -> None:
    pass


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


@pytest.mark.parametrize(
    ("sets", "down", "enough"),
    [
        ([HOSTS], ("h1",), True),
        ([HOSTS], ("h1", "h2"), False),
        ([("h1", "h2")], ("h1",), False),
        ([HOSTS, ("h3", "h4", "h5")], ("h1", "h4"), True),
        ([HOSTS, ("h3", "h4", "h5")], ("h4", "h5"), False),  # a majority of all, not of the second set
        ([("h1", "h2", "h3", "h4", "h5"), ("h4",)], ("h4",), False),
        ([HOSTS, ()], ("h1",), True),
    ],
)
def test_a_majority_of_each_set_is_needed(
    sets: list[tuple[str, ...]], down: tuple[str, ...], enough: bool
) -> None:
    world = stores("h1", "h2", "h3", "h4", "h5")
    for host in down:
        world[host].up = False
    if enough:
        acquire(sets, world, here(), clock=VirtualClock()).check()
        return
    with pytest.raises(UnobservedError, match=f"{down[-1]}: {down[-1]} does not answer"):
        acquire(sets, world, here(), clock=VirtualClock())
    assert not any(store.files for store in world.values())


def test_hosts_declared_gone_are_left_out() -> None:
    world = stores("h1", "h2", "h3")
    with acquire([HOSTS], world, here(), clock=VirtualClock(), gone=("h2", "h3")) as lock:
        lock.check()
    assert [name for name, store in world.items() if store.files] == ["h1"]
    with pytest.raises(UnobservedError, match="No host is left"):
        acquire([HOSTS], world, here(), clock=VirtualClock(), gone=HOSTS)


def test_a_host_without_access_does_not_answer() -> None:
    with pytest.raises(UnobservedError, match="h2: no access\nh3: no access"):
        acquire([HOSTS], stores("h1"), here(), clock=VirtualClock())


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"format": 2, "token": 3}', b"\xff" * 40])
def test_a_lock_file_that_cannot_be_read_is_no_free_lock(content: bytes) -> None:
    world = stores()
    world["h1"].files[LOCK_FILE] = content
    with take(world, here()):
        assert world["h1"].files[LOCK_FILE] == content
    world["h2"].files[LOCK_FILE] = content
    with pytest.raises(UnobservedError, match=r"lock\.json is damaged or from a newer etcdplan"):
        take(world, here())


def test_an_absurd_pid_is_nobody() -> None:
    world = stores()
    take(world, replace(here(), pid=10**30))
    assert take(world, here()).token == 2


@pytest.mark.parametrize("break_", ["full", "up"])
def test_what_was_taken_is_given_back_when_too_few_can_be_written(break_: str) -> None:
    world = stores()

    def fail(_: str) -> None:
        world["h2"].called = world["h3"].called = lambda _: None
        for host in ("h2", "h3"):
            setattr(world[host], break_, break_ == "full")

    for host in ("h2", "h3"):
        world[host].called = lambda name: fail(name) if name == "replace" else None
    with pytest.raises(UnobservedError, match=r"h2: h2 .*\nh3: h3 "):
        take(world, here())
    assert lock_file(world["h1"])["held"] is False


@pytest.mark.parametrize("at", ["replace", "write"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, ValueError])
@pytest.mark.parametrize("host", HOSTS)
def test_no_lock_leaks_whatever_happens(host: str, error: type[BaseException], at: str) -> None:
    world = stores()

    def called(name: str) -> None:
        if name == at:
            world[host].called = lambda _: None
            raise error

    world[host].called = called
    with pytest.raises(error):
        take(world, here())
    assert [lock_file(store)["held"] for store in world.values() if store.files] == [False] * HOSTS.index(
        host
    )


@pytest.mark.parametrize("count", range(1, 14))
def test_a_lost_race_leaves_one_holder(count: int) -> None:
    """The other contender comes as a whole at each possible moment of the first one's acquisition."""
    world, won, calls = stores(), list[Lock](), [0]

    def called(_: str) -> None:
        calls[0] += 1
        if calls[0] == count and not any(store.guarded for store in world.values()):
            with contextlib.suppress(LockHeldError):
                won.append(take(world, here()))

    for store in world.values():
        store.called = called
    try:
        won.append(take(world, here()))
    except LockHeldError as error:
        assert "same moment" in error.message or "is locked by" in error.message
    assert len(won) == 1
    won[0].check()
    won[0].release()
    assert not any(lock_file(store)["held"] for store in world.values())


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


def test_hosts_can_be_asked_at_once() -> None:
    world = stores()
    with ThreadPoolExecutor(3) as pool:
        with acquire([HOSTS], world, here(), each=pool.map) as lock:
            assert lock.beat() == set(HOSTS)
            lock.check()
        assert not any(lock_file(store)["held"] for store in world.values())


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


def test_this_process_lives() -> None:
    assert life(here(), here()) is Life.RUNNING
    assert life(gone_from_here(), here()) is Life.DEAD
    assert life(elsewhere(), here()) is Life.ELSEWHERE
    assert life(replace(here(), pid=1, pid_started=0), here()) is Life.DEAD
    assert here().id != here().id
