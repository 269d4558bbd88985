"""Many contenders, switched at every call of a store by a seeded scheduler, with crashes and cut connections."""

import contextlib
import json
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from etcdplan.apply.holder import Holder, Life
from etcdplan.apply.lock import Lock, acquire
from etcdplan.errors import LockHeldError, UnobservedError
from etcdplan.hosts.ports import LOCK_FILE, Fenced, HostOutcomeUnknown, HostUnreachable
from tests.unit.apply.memory_store import MemoryStore

HOSTS = ("h1", "h2", "h3", "h4", "h5")
SETS: tuple[list[tuple[str, ...]], ...] = (
    [("h1", "h2", "h3"), ("h3", "h4", "h5")],
    [("h1", "h2", "h3", "h4", "h5")],
    [("h1", "h2", "h3", "h4")],
)
CONTENDERS = 5


class Dead(BaseException):
    """The contender's process was killed."""


class Turns:
    """Lets one thread run at a time; each hands over at every `switch`, to one that the seed chooses."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._gates: dict[int, threading.Semaphore] = {}

    def run(self, programs: list[Callable[[], None]]) -> None:
        errors: list[BaseException] = []
        done = threading.Event()
        self._gates = {number: threading.Semaphore(0) for number in range(len(programs))}

        def body(number: int, program: Callable[[], None]) -> None:
            self._me.number = number
            self._gates[number].acquire()
            try:
                program()
            except BaseException as error:  # noqa: BLE001 - raised again in the test's thread
                errors.append(error)
            del self._gates[number]
            if self._gates:
                self._next().release()
            else:
                done.set()

        for number, program in enumerate(programs):
            threading.Thread(target=body, args=(number, program), daemon=True).start()
        self._next().release()
        assert done.wait(250), "the schedule hangs"
        if errors:
            raise errors[0]

    _me = threading.local()

    def switch(self) -> None:
        mine = self._gates[self._me.number]
        chosen = self._next()
        if chosen is not mine:
            chosen.release()
            mine.acquire()

    def _next(self) -> threading.Semaphore:
        return self._gates[self._rng.choice(sorted(self._gates))]


@dataclass
class World:
    """Hosts, the processes that live, and what an outsider can see of locks and effects."""

    rng: random.Random
    turns: Turns
    sets: list[tuple[str, ...]]
    one_machine: bool
    now: float = 0.0
    hosts: dict[str, MemoryStore] = field(default_factory=lambda: {name: MemoryStore(name) for name in HOSTS})
    living: set[int] = field(default_factory=set)
    inside: set[int] = field(default_factory=set)
    tokens: list[int] = field(default_factory=list)
    grants: dict[str, int] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.turns.switch()

    def freeze(self) -> None:
        """Let only the others go on for a long time, as after SIGSTOP."""
        self.count("freeze")
        for _ in range(2000):
            self.turns.switch()

    def token_on(self, host: str) -> int:
        """Return a host's newest token."""
        content = self.hosts[host].files.get(LOCK_FILE)
        return 0 if content is None else int(json.loads(content)["token"])

    def look(self, holder: Holder, seen_by: Holder) -> Life:
        if holder.boot_id != seen_by.boot_id:
            return Life.ELSEWHERE
        return Life.RUNNING if holder.pid in self.living else Life.DEAD


class View:
    """A host as one process reaches it: calls are switched, may fail, and end with the process."""

    def __init__(self, world: World, host: str, pid: int, cut: bool) -> None:
        self._world = world
        self._store = world.hosts[host]
        self._pid = pid
        self._cut = cut

    def _call(self) -> None:
        world = self._world
        if self._pid not in world.living:
            raise Dead
        world.turns.switch()
        if world.rng.random() < 0.003:
            world.count("crash")
            world.living.discard(self._pid)
            world.inside.discard(self._pid)
            raise Dead
        if self._cut or world.rng.random() < 0.01:
            raise HostUnreachable("cut off")

    def read(self, name: str) -> bytes | None:
        self._call()
        return self._store.read(name)

    def names(self, directory: str) -> tuple[str, ...]:
        raise NotImplementedError

    def append(self, name: str, content: bytes) -> None:
        raise NotImplementedError

    def write(self, name: str, content: bytes) -> None:
        self._call()
        before = self._world.token_on(self._store.address)
        self._store.write(name, content)
        assert self._world.token_on(self._store.address) >= before, "a token went back"
        if self._world.rng.random() < 0.01:
            raise HostOutcomeUnknown("no reply")

    def replace(self, name: str, seen: bytes | None, content: bytes, *, timeout: float) -> bool:
        with self.exclusive(timeout=timeout):
            if self.read(name) != seen:
                return False
            self.write(name, content)
            return True

    def end_sessions(self, token: int) -> None:
        self._call()
        self._store.end_sessions(token)

    @contextlib.contextmanager
    def exclusive(self, *, timeout: float) -> Iterator[None]:
        self._call()
        while self._store.guarded:
            self._world.turns.switch()
        with self._store.exclusive(timeout=0):
            yield


def effect(world: World, views: dict[str, View], lock: Lock) -> None:
    """Change a host as `HostEffects` does: under its guard, and only with its newest token."""
    host = world.rng.choice(HOSTS)
    with views[host].exclusive(timeout=1):
        views[host].read(LOCK_FILE)
        if world.token_on(host) != lock.token:
            world.count("refused effect")
            raise Fenced("another token")
        # An effect that comes after a newer holder began is exactly what must not be.
        assert lock.token >= world.grants.get(host, 0), "a late effect happened"
        world.count("effect")


def attempt(world: World, pid: int) -> None:
    """One process: tries to get the lock, works under it, and ends in one way or another."""
    rng = world.rng
    cut = set(rng.sample(HOSTS, rng.choice([0, 0, 0, 1, 2, 3])))
    views = {host: View(world, host, pid, host in cut) for host in HOSTS}
    holder = Holder(f"{pid:x}", "m", "u", pid, pid, "boot" if world.one_machine else f"boot {pid}", "ns", "")
    world.living.add(pid)
    try:
        # Time stands still between the last call of a store and these lines.
        with acquire(world.sets, views, holder, clock=world, look=world.look) as lock:
            if world.one_machine:
                assert not world.inside, f"{pid} and {world.inside} hold the lock"
                assert lock.token > max(world.tokens, default=0), "a token is not the newest"
            assert lock.token not in world.tokens, "a token was given twice"
            world.inside.add(pid)
            world.tokens.append(lock.token)
            world.grants |= {host: lock.token for host in HOSTS if world.token_on(host) == lock.token}
            for _ in range(rng.randrange(4)):
                if not world.one_machine and rng.random() < 0.2:
                    world.freeze()
                with contextlib.suppress(HostUnreachable, UnobservedError):
                    lock.beat()
                    lock.check()
                with contextlib.suppress(HostUnreachable):
                    effect(world, views, lock)
            world.inside.discard(pid)
    except LockHeldError as error:
        world.count("lost race" if "same moment" in error.message else "held")
    except UnobservedError:
        world.count("too few")
    except Fenced:
        world.count("fenced")
    except Dead:
        pass
    finally:
        world.living.discard(pid)
        world.inside.discard(pid)


def soak(seed: int, attempts: int, *, one_machine: bool) -> World:
    """Let the contenders make that many attempts in all."""
    rng = random.Random(seed)
    turns = Turns(rng)
    world = World(rng, turns, SETS[seed % len(SETS)], one_machine)
    pids = iter(range(1, attempts + 1))

    def contender() -> None:
        for pid in pids:
            attempt(world, pid)
            for _ in range(rng.randrange(150)):
                turns.switch()

    turns.run([contender] * CONTENDERS)
    assert next(pids, None) is None
    return world


@pytest.mark.parametrize("seed", range(10))
def test_one_thousand_attempts_have_no_two_holders(seed: int) -> None:
    world = soak(seed, 1000, one_machine=True)
    # A run that reaches too little proves nothing.
    assert len(world.tokens) > 100
    for what, least in (("held", 100), ("lost race", 20), ("too few", 20), ("crash", 20), ("effect", 50)):
        assert world.counts.get(what, 0) >= least, world.counts


@pytest.mark.parametrize("seed", range(4))
def test_a_frozen_holder_changes_nothing_after_its_successor_began(seed: int) -> None:
    world = soak(seed, 150, one_machine=False)
    for what, least in (("freeze", 3), ("fenced", 3), ("effect", 10), ("held", 10)):
        assert world.counts.get(what, 0) >= least, world.counts
    assert len(world.tokens) > 10
