"""A world of machines, disks, processes and sockets behind the ports to hosts, on a virtual clock.

It knows nothing of `etcdplan.model`'s State, effects or settling: it is the check on them. `Hosts` are its
`controller()`s; everything else here is for tests, which break things with it.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import count

from etcdplan.model.backups import Backup
from etcdplan.model.restore import Restore
from tests.support import fake_consensus
from tests.support.clock import VirtualClock
from tests.support.fake_effects import fire
from tests.support.fake_etcd import FakeCluster
from tests.support.fake_machine import ETCD_UNIT, FakeMachine, FakeProcess, split_url
from tests.support.fake_ports import FakeController, FakeHost
from tests.support.fake_start import end_process, open_sockets, start_process
from tests.support.monitors import Monitors

_LOCAL = ("localhost", "127.0.0.1")


@dataclass(frozen=True, slots=True)
class Done:
    """An effect that happened."""

    time: float
    host: str
    effect: str
    args: tuple[str, ...]


@dataclass(slots=True)
class Fault:
    """What befalls the nth call of an effect from now on."""

    effect: str
    left: int
    happens: bool
    reply: str
    host: str | None = None


class FakeWorld:
    """Hosts for etcdplan, and a hand for tests to break them. Addresses are as in specs and member lists."""

    def __init__(self, version: str = "3.6.16", clock: VirtualClock | None = None) -> None:
        self.version = version
        self.clock = clock or VirtualClock()
        self.machines: dict[str, FakeMachine] = {}
        self.clusters: list[FakeCluster] = []
        self.links: dict[tuple[FakeProcess, FakeProcess], float] = {}
        self.near: fake_consensus.Near = {}
        self.catching_up: set[FakeProcess] = set()
        self.catch_up = 0.1
        """Seconds that a member needs to get a log of which it has nothing."""
        self.slow_publish = False
        """Newcomers answer clients only after seven seconds, as real ones often do."""
        self.exit_of_removed = 0
        """With what status a removed member ends. Real ones also end with 1 when started again, and 3.4 with 2; their
        supervisor then tries again."""
        self.allow_outage = False
        """The monitors accept effects that stop the cluster, and its API servers with it."""
        self.allow_api_outage = False
        """The monitors accept several API servers down at once, as in mode `own`."""
        self.hook_calls: list[tuple[str, ...]] = []
        """What hooks were run with, and the effects on API servers between them."""
        self.dead_men = False
        """Hosts take changes back, as systemd hosts do. They do so when `fire_dead_men` says that time is up."""
        self.asked: Restore | None = None
        """The restore that whoever applies asks for, until a host knows of it."""
        self.abandons = False
        """Whoever applies wants a restore taken back, until a host knows of it."""
        self.replaced: set[int] = set()
        """The IDs of the clusters that a restore gives up."""
        self.backups: list[Backup] = []
        """All that were taken, wherever they went."""
        self.rests_on: int | None = None
        """How old the newest backup may be, in seconds, when an effect takes something away."""
        self.violations: list[str] = []
        self.effects_log: list[Done] = []
        self.members_added: Counter[str] = Counter()
        """How often each peer URL was added."""
        self.before_effect: Callable[[str, str], None] | None = None
        """Called with host and effect before each effect, so that a test can interfere."""
        self.after_effect: Callable[[str, str], None] | None = None
        self.monitors = Monitors()
        self.faults: list[Fault] = []
        self._cut: set[frozenset[str]] = set()
        self._balancers: set[tuple[str, int]] = set()
        self._pids = count(1)
        self._keys = count(1)

    # What etcdplan sees.

    def controller(self, name: str = "controller") -> FakeController:
        """Return a `Hosts` of its own, which contends with others for the guards of hosts."""
        return FakeController(self, name)

    def host(self, address: str) -> FakeHost:
        """Return a host for a controller of its own."""
        return self.controller().host(address)

    # What a test builds.

    def add_machine(self, address: str, *, version: str | None = None) -> FakeMachine:
        """Add a machine with an empty disk."""
        machine = FakeMachine(address, version or self.version)
        self.machines[address] = machine
        return machine

    def add_load_balancer(self, url: str) -> None:
        """Add something that listens there and forwards to members that serve."""
        _, host, port = split_url(url)
        self._balancers.add((host, port))

    def start(self, address: str, unit: str = ETCD_UNIT) -> None:
        """Start a unit by hand, not as an effect, held or not; one that runs goes on."""
        machine = self.machines[address]
        there = machine.units[unit]
        there.tries, there.failing, there.held = 0, False, False
        if there.process is None:
            start_process(self, machine, unit, by_effect=False)

    # What a test breaks.

    def kill(self, address: str, unit: str = ETCD_UNIT) -> None:
        """Kill a process for good; its supervisor does not start it again."""
        there = self.machines[address].units[unit]
        there.starts += there.process is None  # A restart that is due does not come.
        if there.process is not None:
            end_process(self, there.process, None)
            self.react()

    def hang(self, address: str, unit: str = ETCD_UNIT) -> None:
        """Stop a process in its tracks (SIGSTOP)."""
        process = self.machines[address].units[unit].process
        if process is not None:
            process.stopped = True
            self.react()

    def wake(self, address: str, unit: str = ETCD_UNIT) -> None:
        """Let a stopped process go on."""
        process = self.machines[address].units[unit].process
        if process is not None:
            process.stopped = False
            open_sockets(self, process)
            self.react()

    def fire_dead_men(self) -> None:
        """Let every armed dead-man of a machine that has power find that its controller is gone."""
        for machine in self.machines.values():
            for name in machine.units if machine.powered else ():
                fire(self, machine, name, "its controller gave no sign of life")

    def lose_disk(self, address: str) -> None:
        """Take etcd's data away, and the process that ran on it."""
        self.kill(address)
        self.machines[address].data = None

    def corrupt_data(self, address: str) -> None:
        """Make etcd panic on its data, now and at each start; its identity can still be read."""
        machine = self.machines[address]
        if machine.data is not None:
            machine.data.corrupt = True
        process = machine.etcd.process
        if process is not None:
            end_process(self, process, 2)
            self.react()

    def alter_data(self, address: str) -> None:
        """Let a member hold other data than the others, and the CORRUPT alarm be raised for it."""
        data = self.machines[address].data
        if data is not None and data.cluster is not None:
            data.altered = "something else"
            data.cluster.corrupt.add(data.member_id)

    def power_cut(self, address: str) -> None:
        """Take all processes of a machine away, and let it answer nobody."""
        machine = self.machines[address]
        machine.powered, machine.guard = False, None
        for unit in machine.units.values():
            unit.process = None
        self.react()

    def boot(self, address: str, *, autostart: bool = True) -> None:
        """Bring a machine back. Whatever was started last and is not held starts again."""
        machine = self.machines[address]
        machine.powered = True
        for name, unit in machine.units.items():
            unit.tries, unit.failing = 0, False
            if autostart and unit.enabled and not unit.held and unit.settings is not None:
                start_process(self, machine, name, by_effect=False)
        self.react()

    def replace_machine(self, address: str) -> None:
        """Put a new machine with an empty disk in the place of an old one."""
        self.power_cut(address)
        self.add_machine(address)

    def cut_network(self, address: str) -> None:
        """Let controllers not reach a host; its processes go on."""
        self.machines[address].connected = False

    def restore_network(self, address: str) -> None:
        """Let controllers reach the host again."""
        self.machines[address].connected = True

    def partition(self, one: Iterable[str], other: Iterable[str]) -> None:
        """Cut two groups of hosts from each other."""
        others = list(other)
        self._cut |= {frozenset((a, b)) for a in one for b in others if a != b}
        self.react()

    def heal(self) -> None:
        """End all partitions."""
        self._cut.clear()
        self.react()

    def fill_disk(self, address: str) -> None:
        """Let nothing be written on a host any more."""
        self.machines[address].full = True

    def hide(self, address: str, fact: str, why: str = "permission denied") -> None:
        """Make a fact unknown: data, record, trust, leaf/NAME, etcd.settings, apiserver/NAME.process and so on."""
        self.machines[address].hidden[re.sub(r"\.(settings|process)$", r"/\1", fact)] = why

    def lose_reply(self, effect: str, nth: int = 1, *, host: str | None = None, happens: bool = True) -> None:
        """Break the connection under the nth call of an effect from now, after it happened or before."""
        self.faults.append(Fault(effect, nth, happens, "lost", host))

    def fail_effect(
        self, effect: str, nth: int = 1, *, host: str | None = None, message: str = "no space left on device"
    ) -> None:
        """Let the nth call of an effect from now do nothing and say so."""
        self.faults.append(Fault(effect, nth, False, message, host))

    # What a test asks.

    def settle(self, seconds: float = 15.0) -> "FakeWorld":
        """Let time heal what it heals by itself."""
        self.clock.sleep(seconds)
        return self

    def serving(self) -> list[str]:
        """Return the addresses of the members that serve."""
        return [p.machine.address for p in self.live_etcds() if fake_consensus.serves(self, p)]

    def leader(self) -> str | None:
        """Return the address of the only leader."""
        leaders = [cluster.leader for cluster in self.clusters if cluster.leader]
        assert len(leaders) <= 1, "two clusters have a leader"
        return leaders[0].machine.address if leaders else None

    def writes_lost(self) -> int:
        """Return how many acknowledged writes the members that serve lack; all of them when nobody serves."""
        lost = 0
        for cluster in self.clusters:
            if cluster.ever_led and cluster.id not in self.replaced:
                held = [
                    p.data.applied
                    for p in self.live_etcds()
                    if p.data and p.data.cluster is cluster and fake_consensus.serves(self, p)
                ]
                lost += cluster.acked - min(held, default=0)
        return lost

    # What the other parts of the fake use.

    def react(self) -> None:
        """Let everything follow from what runs now."""
        fake_consensus.react(self)

    def at(self, seconds: float, action: Callable[[], None] = lambda: None) -> None:
        """Do something later, and let everything follow from it."""

        def act() -> None:
            action()
            self.react()

        self.clock.at(self.clock.now + seconds, act)

    def run_hook(self, name: str, api_server: str, action: str) -> None:
        """Stand for a hook of the runner."""
        self.hook_calls.append((name, api_server, action))

    def log(self, host: str, effect: str, args: tuple[object, ...]) -> None:
        """Note an effect that happened."""
        if effect in ("start", "stop") and str(args[0]).startswith("apiserver/"):
            self.hook_calls.append((effect, str(args[0]).removeprefix("apiserver/")))
        if self.rests_on is not None and effect in ("member_remove", "set_data_aside"):
            newest = max((max(one.time, one.taken) for one in self.backups), default=0)
            if self.clock.now - newest > self.rests_on:
                self.violations.append(f"{effect} on {host} rests on no backup that is young enough")
        self.effects_log.append(Done(self.clock.now, host, effect, tuple(map(str, args))))

    def fault_of(self, effect: str, host: str) -> Fault | None:
        """Return what befalls this call, and count it."""
        due = None
        for fault in list(self.faults):
            if fault.effect == effect and fault.host in (None, host):
                fault.left -= 1
                if fault.left == 0:
                    self.faults.remove(fault)
                    due = due or fault
        return due

    def new_pid(self) -> int:
        """Return a number that no process had."""
        return next(self._pids)

    def new_key(self) -> str:
        """Return the name of a new private key."""
        return f"key{next(self._keys)}"

    def processes(self) -> Iterator[FakeProcess]:
        """Yield every process."""
        for machine in self.machines.values():
            for unit in machine.units.values():
                if unit.process is not None:
                    yield unit.process

    def live_etcds(self) -> list[FakeProcess]:
        """Return the etcds that are up and not stopped, the oldest first."""
        live = (machine.etcd.process for machine in self.machines.values())
        return sorted((p for p in live if p and p.up and not p.stopped), key=lambda process: process.pid)

    def member_addresses(self) -> set[str]:
        """Return the hosts of all members of all clusters."""
        members = (member for cluster in self.clusters for member in cluster.members.values())
        return {split_url(member.peer_url)[1] for member in members}

    def connects(self, one: FakeMachine, other: FakeMachine) -> bool:
        """Whether the network carries traffic between two machines."""
        if not one.powered or not other.powered:
            return False
        return not self._cut or frozenset((one.address, other.address)) not in self._cut

    def etcds_at_client_url(self, url: str, source: FakeMachine) -> list[FakeProcess]:
        """Return the etcds that a connection to a client URL may end at, running or stopped."""
        scheme, host, port = split_url(url)
        if (host, port) in self._balancers:
            live = self.live_etcds()
            return [p for p in live if fake_consensus.serves(self, p) and self.connects(source, p.machine)]
        etcd = self._etcd_on(host, source)
        if etcd is None or port not in etcd.client_sockets or etcd.client_tls != (scheme == "https"):
            return []
        return [etcd]

    def etcds_at_peer_url(self, url: str, source: FakeProcess) -> list[FakeProcess]:
        """Return the etcd that answers another one at a peer URL."""
        _, host, port = split_url(url)
        etcd = self._etcd_on(host, source.machine)
        if etcd is None or etcd.stopped or port not in etcd.peer_sockets:
            return []
        return [etcd] if fake_consensus.peers_accept(self, source, etcd) else []

    def _etcd_on(self, host: str, source: FakeMachine) -> FakeProcess | None:
        machine = self.machines.get(host) or (source if host in _LOCAL else None)
        if machine is None or not self.connects(source, machine):
            return None
        etcd = machine.etcd.process
        return etcd if etcd is not None and etcd.up else None
