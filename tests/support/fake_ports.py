"""The ports to hosts (`etcdplan.hosts.ports`) on top of the fake world."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from etcdplan.hosts.ports import (
    LOCK_FILE,
    Claim,
    EtcdReport,
    Fenced,
    HostOutcomeUnknown,
    HostRefused,
    HostReport,
    HostUnreachable,
    LeafFile,
    ListedMember,
)
from etcdplan.model.facts import ABSENT, Fact, known, unknown
from etcdplan.model.machine import Figures
from etcdplan.model.state import Data, Process, Settings, Unit
from tests.support import fake_calls
from tests.support.fake_consensus import follows, serves
from tests.support.fake_effects import FakeEffects, write_check
from tests.support.fake_etcd import FakeData, FakeMember
from tests.support.fake_machine import ETCD_UNIT, FakeMachine
from tests.support.fake_start import shows_certificate

if TYPE_CHECKING:
    from tests.support.fake_world import FakeWorld

EFFECT_TAKES = 0.05
WRITE_TAKES = 0.005
_FREE = 10 * 1024**3


class FakeController:
    """`Hosts` of one controller; two of them contend for the guards of hosts."""

    def __init__(self, world: "FakeWorld", name: str) -> None:
        self.world = world
        self.name = name

    def host(self, address: str) -> "FakeHost":
        """Return the host with that address, whether or not there is one."""
        return FakeHost(self.world, self, address)


class FakeHost:
    """A `ManagedHost`."""

    def __init__(self, world: "FakeWorld", controller: FakeController, address: str) -> None:
        self.world = world
        self.controller = controller
        self.address = address
        self.store = FakeStore(self)
        self.effects = FakeEffects(self)

    @property
    def machine(self) -> FakeMachine:
        """The machine; raises `HostUnreachable`."""
        machine = self.world.machines.get(self.address)
        if machine is None or not machine.reachable:
            raise HostUnreachable(f"{self.address} does not answer.")
        return machine

    def inspect(self, *, timeout: float, kept: bool = False) -> HostReport:
        """Say what is on the disk and what runs."""
        machine = self.machine
        hidden = machine.hidden

        def fact(name: str, value: object) -> Fact:  # type: ignore[type-arg]
            if name in hidden:
                return unknown(f"host/{self.address}/{name}", hidden[name])
            return ABSENT if value is None else known(value)

        data = machine.data
        seen = data and _identity(data)
        units = {name: self._unit(machine, name, fact) for name in machine.units}
        return HostReport(
            etcd=units.pop(ETCD_UNIT),
            data=fact("data", seen),
            leafs={
                name: fact(f"leaf/{name}", LeafFile(pair.certificate, pair.has_its_key))
                for name, pair in machine.pairs.items()
            },
            trust=fact("trust", machine.bundle),
            record=fact("record", machine.record),
            api_servers={name.removeprefix("apiserver/"): unit for name, unit in units.items()},
            program=fact("program", machine.program),
            staged=fact("staged", machine.staged and _identity(machine.staged)),
            job=fact("job", machine.job),
            free_bytes=0 if machine.full else _FREE,
            strays=machine.strays,
        )

    def _unit(self, machine: FakeMachine, name: str, fact: Callable[[str, object], Fact]) -> Unit:  # type: ignore[type-arg]
        unit = machine.units[name]
        process = unit.process
        running = process and Process(
            _shown(name, process.settings),
            answering=process.ready and not process.stopped,
            version=process.version if name == ETCD_UNIT else "",
            started=round(process.started),
        )
        on_disk = None if unit.settings is None else _shown(name, unit.settings)
        return Unit(
            fact(f"{name}/settings", on_disk),
            fact(f"{name}/process", running),
            held=unit.held,
            failing=unit.failing,
            drained=unit.drained,
            armed=unit.armed is not None,
            rolled_back=unit.rolled_back,
        )

    def ask_etcd(self, client_url: str, *, timeout: float) -> EtcdReport | None:
        """Let the etcd at a URL speak for itself."""
        found = self.world.etcds_at_client_url(client_url, self.machine)
        etcd = found[0] if found else None
        if (
            etcd is None
            or etcd.stopped
            or not etcd.ready
            or not shows_certificate(self.world, etcd, client_url)
        ):
            return None
        data = etcd.data
        assert data is not None and data.cluster is not None
        leader, serving = follows(self.world, etcd), serves(self.world, etcd)
        config = data.cluster.config(data.applied)
        learner = config[data.member_id].learner
        return EtcdReport(
            cluster_id=data.cluster.id,
            member_id=data.member_id,
            version=etcd.version,
            leader_id=leader.data.member_id if leader and leader.data else 0,
            is_learner=learner,
            serves=serving,
            confirmed=serving,
            # A learner rejects MemberList.
            members=() if learner else tuple(_listed(member) for member in config.values()),
            errors=(
                *(f"memberID:{number} alarm:CORRUPT" for number in sorted(data.cluster.corrupt)),
                *(() if leader else ("etcdserver: no leader",)),
            ),
        )

    def held_by_etcd(self, client_url: str, *, timeout: float) -> str | None:
        """Let the etcd at a URL hash what it holds."""
        found = self.ask_etcd(client_url, timeout=timeout)
        etcds = self.world.etcds_at_client_url(client_url, self.machine) if found and found.serves else []
        return f"hash of {etcds[0].data.altered or 'all'}" if etcds and etcds[0].data else None

    def measure_etcd(self, client_url: str, *, timeout: float) -> Fact[Figures]:
        """Measure nothing: there is no time in this world that a disk would take."""
        return ABSENT

    def members_behind(self, url: str, *, times: int, timeout: float) -> tuple[int, ...]:
        """Nobody else stands behind a URL of the fake world."""
        found = self.ask_etcd(url, timeout=timeout)
        return (found.member_id,) * times if found else ()

    def perform(
        self, effect: str, act: Callable[[FakeMachine], object], *args: object, claim: Claim | None = None
    ) -> None:
        """Do something to the machine once, with all the checks around it and what befalls the call."""
        world = self.world
        if claim is not None and world.before_effect is not None:
            world.before_effect(self.address, effect)
        if claim is not None and self.machine.guard is not None:
            raise HostRefused(f"The guard of {self.address} is held.")
        world.clock.sleep(WRITE_TAKES if claim is None else EFFECT_TAKES)
        machine = self.machine
        if claim is not None:
            _admit(machine, claim)
        fault = world.fault_of(effect, self.address)
        if fault is not None and not fault.happens:
            raise self._broken(effect, fault.reply, args)
        if claim is None:
            act(machine)
        else:
            before = world.monitors.look(world)
            act(machine)
            world.react()
            world.monitors.judge(world, before, f"{self.address} {effect}")
            world.log(self.address, effect, args)
            if world.after_effect is not None:
                world.after_effect(self.address, effect)
        if fault is not None:
            raise self._broken(effect, fault.reply, args)

    def _broken(self, effect: str, reply: str, args: tuple[object, ...]) -> Exception:
        if reply != "lost":
            return HostRefused(f"{self.address} did not do {effect}: {reply}.")
        if effect in fake_calls.CALLS:
            return fake_calls.lost(effect, args)
        return HostOutcomeUnknown(f"It is unknown whether {effect} on {self.address} happened.")


def _identity(data: FakeData) -> Data:
    return Data(data.cluster.id if data.cluster else 0, data.member_id, data.foreign)


def _shown(unit: str, settings: dict[str, str]) -> Settings:
    """Of an API server only the flags about etcd are looked at."""
    if unit == ETCD_UNIT:
        return dict(settings)
    return {flag: value for flag, value in settings.items() if flag.startswith("etcd-")}


def _listed(member: FakeMember) -> ListedMember:
    return ListedMember(member.id, member.name, (member.peer_url,), member.client_urls, member.learner)


def _admit(machine: FakeMachine, claim: Claim) -> None:
    lock = machine.files.get(LOCK_FILE)
    newest = json.loads(lock).get("token") if lock is not None else None
    if claim.token != newest:
        raise Fenced(
            f"{machine.address} has given its lock to another apply ({claim.token} is not {newest})."
        )
    note = f"effects/{claim.effect_id}"
    if note in machine.files:
        raise HostRefused(f"Effect {claim.effect_id} was already claimed on {machine.address}.")
    write_check(machine)
    machine.files[note] = b""


class FakeStore:
    """A `HostStore`."""

    def __init__(self, host: FakeHost) -> None:
        self._host = host

    def read(self, name: str) -> bytes | None:
        """Return a file's content."""
        return self._host.machine.files.get(name)

    def names(self, directory: str) -> tuple[str, ...]:
        """Return what is right within a directory."""
        prefix = f"{directory.rstrip('/')}/" if directory.strip("./") else ""
        inside = {
            n.removeprefix(prefix).split("/")[0] for n in self._host.machine.files if n.startswith(prefix)
        }
        return tuple(sorted(inside))

    def write(self, name: str, content: bytes) -> None:
        """Replace a file."""

        def act(machine: FakeMachine) -> None:
            write_check(machine)
            machine.files[name] = content

        self._host.perform("store.write", act, name)

    def append(self, name: str, content: bytes) -> None:
        """Append to a file."""

        def act(machine: FakeMachine) -> None:
            write_check(machine)
            machine.files[name] = machine.files.get(name, b"") + content

        self._host.perform("store.append", act, name)

    def replace(self, name: str, seen: bytes | None, content: bytes, *, timeout: float) -> bool:
        """Replace a file that is as it was seen."""
        with self.exclusive(timeout=timeout):
            if self.read(name) != seen:
                return False
            self.write(name, content)
            return True

    def end_sessions(self, token: int) -> None:
        """Do nothing: a call from a fake world's controller is there at once, or never."""

    @contextmanager
    def exclusive(self, *, timeout: float) -> Iterator[None]:
        """Hold the guard; nobody can let go of it while this controller waits, so that it waits in vain."""
        machine = self._host.machine
        if machine.guard is not None:
            self._host.world.clock.sleep(timeout)
            raise HostRefused(f"The guard of {machine.address} is held.")
        machine.guard = self._host.controller
        try:
            yield
        finally:
            if machine.guard is self._host.controller:
                machine.guard = None
