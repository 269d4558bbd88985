"""Taking the lock, one case at a time.

Many contenders are in test_lock_soak.py, real processes in test_lock_processes.py.
"""

import contextlib
from concurrent.futures import ThreadPoolExecutor

import pytest

from etcdplan.apply.lock import Lock, acquire
from etcdplan.errors import LockHeldError, UnobservedError
from etcdplan.hosts.ports import LOCK_FILE
from tests.support.clock import VirtualClock
from tests.unit.apply.lock_world import (
    HOSTS,
    here,
    lock_file,
    stores,
    take,
)


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


def test_hosts_can_be_asked_at_once() -> None:
    world = stores()
    with ThreadPoolExecutor(3) as pool:
        with acquire([HOSTS], world, here(), each=pool.map) as lock:
            assert lock.beat() == set(HOSTS)
            lock.check()
        assert not any(lock_file(store)["held"] for store in world.values())
