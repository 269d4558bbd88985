"""Runs of etcdplan that die where a test wants them to, and the ones that come after them."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import cast

from etcdplan.apply.calls import TakesBackups
from etcdplan.apply.events import Event, RunStarted, StepStarted
from etcdplan.apply.failpoints import (
    Boundaries,
    Failpoint,
    FailpointEffects,
    FailpointHost,
    FailpointHosts,
    FailpointStore,
    Killed,
    NoFailpoint,
)
from etcdplan.apply.holder import Holder
from etcdplan.apply.session import Session
from etcdplan.errors import StaleError
from etcdplan.hosts.ports import JOURNAL_DIR, HostStore, ManagedHost
from etcdplan.model.state import State
from tests.support.clock import VirtualClock
from tests.support.fake_runs import FakeTaker, Runner, RunnerDisk
from tests.support.fake_world import FakeWorld

NO_PROCESS = 2**22 + 1
"""Above every `pid_max`: a process that provably does not live."""


@dataclass(frozen=True)
class SlowToWake:
    """A virtual clock for somebody who never sleeps for less than `least` seconds."""

    clock: VirtualClock
    least: float

    def time(self) -> float:
        """Return unix seconds."""
        return self.clock.time()

    def monotonic(self) -> float:
        """Return seconds that only grow."""
        return self.clock.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        self.clock.sleep(max(seconds, self.least))


class _Store(FailpointStore):
    """A store with boundaries around each write, too: that of the lock, or of an old journal that is emptied."""

    def write(self, name: str, content: bytes) -> None:
        """Write, or die before or after it."""
        number = next(self._boundaries.appends)
        self._boundaries.hit(f"write:{number}:before", f"{name} {self._where}")
        self._port.write(name, content)  # type: ignore[attr-defined]
        self._boundaries.hit(f"write:{number}:after", f"{name} {self._where}")

    def replace(self, name: str, seen: bytes | None, content: bytes, *, timeout: float) -> bool:
        """Replace, or die before or after it."""
        number = next(self._boundaries.appends)
        self._boundaries.hit(f"write:{number}:before", f"{name} {self._where}")
        done: bool = self._port.replace(name, seen, content, timeout=timeout)  # type: ignore[attr-defined]
        self._boundaries.hit(f"write:{number}:after", f"{name} {self._where}")
        return done


class _Host(FailpointHost):
    @property
    def store(self) -> HostStore:
        return cast(HostStore, _Store(self._port.store, self._boundaries, self._where))


class _Hosts(FailpointHosts):
    def host(self, address: str) -> ManagedHost:
        return cast(ManagedHost, _Host(self._hosts.host(address), self._boundaries, address))


@dataclass
class Attempt(Runner):
    """One process that runs etcdplan, with a disk of its own; it dies where its failpoint says.

    Attempts of one `machine` see of each other that they are dead, or that they are `alive`; of those on other machines
    only the heartbeat tells, and there is none. With `dies_at_writes` there are boundaries around the writes of the
    lock, too. `watcher` is told every event. `watch_step` is the step (from 1) of which `declared` keeps the states
    that it passes through.
    """

    failpoint: Failpoint = field(default_factory=NoFailpoint)
    machine: str = ""
    alive: bool = False
    dies_at_writes: bool = False
    least_sleep: float = 0.0
    watch_step: int = 0
    steps_begun: int = 0
    declared: tuple[State, ...] = ()
    watcher: Callable[[Event], object] = lambda event: None
    disk: RunnerDisk = field(default_factory=RunnerDisk)

    def __post_init__(self) -> None:
        super().__post_init__()
        assert self.hosts is not None
        self.boundaries = Boundaries(self.failpoint)
        kind = _Hosts if self.dies_at_writes else FailpointHosts
        self.hosts = kind(self.hosts, self.boundaries)
        self.tell = self._watch

    def session(self) -> Session:
        """Return a session that dies where it shall."""
        place = self.machine or self.name
        here = Holder.here("apply")
        pid, started = (here.pid, here.pid_started) if self.alive else (NO_PROCESS, 1)
        return replace(
            super().session(),
            clock=SlowToWake(self.world.clock, self.least_sleep),
            runner=FailpointStore(self.disk, self.boundaries, "runner"),
            taker=cast(TakesBackups, FailpointEffects(FakeTaker(self.world), self.boundaries, "runner")),
            holder=Holder(self.name, place, "test", pid, started, place, place, "apply"),
        )

    def _watch(self, event: Event) -> None:
        self.events.append(event)
        self.watcher(event)
        if isinstance(event, StepStarted):
            self.steps_begun += 1
        if isinstance(event, RunStarted | StepStarted) and self.steps_begun == self.watch_step:
            before = self.observe()
            self.declared = (before,)
            if isinstance(event, StepStarted):
                [planned, *_] = self.plan().steps
                assert planned.step.id == event.id
                self.declared += planned.step.stages(before)


def dies(attempt: Attempt, *, resume: bool = False) -> bool:
    """Run it; return whether it died."""
    try:
        if resume:
            attempt.resume()
        else:
            attempt.apply()
    except Killed:
        return True
    return False


def journalled(world: FakeWorld) -> bool:
    """Whether any host has the whole first line of a run's journal."""
    return any(
        name.startswith(JOURNAL_DIR) and b"\n" in content
        for machine in world.machines.values()
        if machine.reachable
        for name, content in machine.files.items()
    )


def finish(world: FakeWorld, attempt: Attempt) -> None:
    """Resume what a dead run left; one that died before its first line was whole had no effect and is begun again."""
    if journalled(world):
        attempt.resume()
        return
    effects = len(world.effects_log)
    assert effects == 0
    if attempt.plan().steps:
        try:
            attempt.resume()
        except StaleError:
            pass
        else:
            raise AssertionError("a run was resumed that no host knows of")
    attempt.apply()
