"""Random schedules: runs that are broken at random places in a world that is broken at random times.

A schedule is a number: everything in it follows from its seed, so that what fails once fails again.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random

from etcdplan.apply.events import Event, StepDone
from etcdplan.apply.failpoints import Killed, LastWords
from etcdplan.errors import EtcdplanError
from etcdplan.hosts.ports import HostRefused, HostUnreachable
from etcdplan.planner.refusal import Refusal
from etcdplan.spec.models import Spec
from tests.faults.attempts import Attempt
from tests.faults.boundaries import host_of_effect, lose_the_reply
from tests.faults.justice import Doubtful, could_have_quorum, unjust
from tests.faults.outcome import url_of
from tests.support import fake_calls
from tests.support.fake_machine import split_url
from tests.support.scenarios import founded, fresh, make_spec

MOST_RUNS = 6
"""Runs that are broken; after them the world is left alone."""
MOST_QUIET_RUNS = 8
HOURS = 3600.0

EXIT_CODES = {3, 4, 5, 6, 7, 8}


class Wrong(AssertionError):
    """A schedule ended as it never may."""


@dataclass
class Schedule:
    """One schedule. `story` tells what happened, in words."""

    seed: int
    story: list[str] = field(default_factory=list)
    runs: int = 0
    outcome: str = ""

    def __post_init__(self) -> None:
        self.random = Random(self.seed)
        self.hosts = [f"10.0.0.{n}" for n in range(1, 4)]
        self.flags = "100ms"
        self.api_servers = self.random.choice([0, 0, 1, 2])
        self.connect = self.random.choice(["all", "all", "own"]) if self.api_servers else "all"
        size = self.random.choice([1, 3, 3, 3, 5])
        self.hosts = [f"10.0.0.{n}" for n in range(1, size + 1)]
        self.spec = self.make_spec()
        begun = self.random.random() < 0.7
        self.world = founded(spec=self.spec) if begun else fresh(self.spec)
        self.world.catch_up = self.random.choice([0.1, 0.1, 3.0, 8.0])
        self.world.slow_publish = self.random.random() < 0.3
        self.world.allow_api_outage = self.connect == "own"
        self.world.before_effect = self._before_effect
        self.world.after_effect = self._after_effect
        self.running = self.spec
        self.least_sleep = self.random.choice([0.0, 0.5, 0.5, 2.0])
        self.catastrophe = False
        """More data is lost than a cluster survives."""
        self.frozen = 0.0
        self.surprised = False
        """Something broke in the middle of a step: the plan cannot know of it."""
        self.tell(
            f"{'a cluster' if begun else 'empty machines'}: {size} members, {self.api_servers} API servers"
        )

    def tell(self, what: str) -> None:
        """Add to the story."""
        self.story.append(f"{self.world.clock.now % 100_000:9.2f} {what}" if hasattr(self, "world") else what)

    def make_spec(self) -> Spec:
        """Return the spec as it is now."""
        return make_spec(
            hosts=self.hosts,
            api_servers=self.api_servers,
            connect=self.connect,
            etcd={"heartbeatInterval": self.flags, "allowOutage": True},
        )

    def play(self) -> "Schedule":
        """Break things for a while, then let everything come to rest; raise `Wrong`."""
        try:
            died = False
            for _ in range(self.random.randint(1, MOST_RUNS)):
                for _ in range(self.random.choice([0, 1, 1, 2]) if self.runs else 2):
                    self.random.choice(BETWEEN)(self)
                if self.random.random() < 0.4:
                    self.world.settle(self.random.choice([1.0, 10.0, 100.0]))
                died = self.run(self.failpoint(), resume=died and self.random.random() < 0.7)
            self.mend()
            self.rest()
            self.check()
        except Wrong:
            raise
        except Exception as error:
            raise Wrong(f"{type(error).__name__}: {error}\n{self}") from error
        return self

    def __str__(self) -> str:
        return f"seed {self.seed}\n" + "\n".join(self.story)

    # Running.

    def run(self, failpoint: "Chaos | None", *, resume: bool) -> bool:
        """Let one process run; return whether it ended otherwise than well."""
        self.runs += 1
        machine = self.random.choice(["one", "one", ""])
        attempt = Attempt(
            self.world, self.spec, machine=machine, least_sleep=self.least_sleep, dies_at_writes=True
        )
        self.running = self.spec
        if failpoint is not None:
            attempt.boundaries._failpoint = failpoint
            attempt.watcher = failpoint.watch
        began, self.frozen = self.world.clock.now, 0.0
        self.tell("resume" if resume else "apply")
        try:
            done = attempt.resume() if resume else attempt.apply()
        except Killed as death:
            self.tell(f"  killed at {death}")
            return True
        except EtcdplanError as error:
            self.tell(f"  exit {error.exit_code}: {error.message}")
            if error.exit_code not in EXIT_CODES or "report this" in error.hint:
                raise Wrong(f"exit {error.exit_code}: {error.message}\n{self}") from error
            return True
        finally:
            self.surprised = False
            if self.world.clock.now - began > 2 * HOURS + self.frozen:
                raise Wrong(f"a run took {self.world.clock.now - began:.0f} s\n{self}")
            self.check()
        self.tell(f"  {done} steps done")
        return False

    def failpoint(self) -> "Chaos | None":
        """Return what befalls the next run."""
        if self.random.random() < 0.15:
            return None
        count = self.random.choice([1, 1, 1, 2, 3])
        places = {
            int(self.random.expovariate(1 / self.random.choice([10, 60, 150]))) + 1: self.random.choice(
                AT_BOUNDARIES
            )
            for _ in range(count)
        }
        steps = {
            self.random.randint(1, 10): self.random.choice(BETWEEN)
            for _ in range(self.random.choice([0, 0, 1]))
        }
        return Chaos(self, places, steps)

    def mend(self) -> None:
        """Make everything that is no loss good again."""
        self.tell("everything is mended")
        self.world.heal()
        for address, machine in self.world.machines.items():
            machine.full, machine.hidden = False, {}
            self.world.restore_network(address)
            if not machine.powered:
                self.world.boot(address)
            for unit in machine.units:
                self.world.wake(address, unit)
        self.world.settle(100)

    def rest(self) -> None:
        """Plan and apply until nothing is left to do, or until a refusal is just."""
        refused: set[Refusal] = set()
        for _ in range(MOST_QUIET_RUNS):
            plan = Attempt(self.world, self.spec).plan()
            if not plan.refusals and not plan.steps:
                self.converged()
                return
            for refusal in plan.refusals:
                self.tell(f"refused: {refusal.code}: {refusal.message}")
                try:
                    why = unjust(self.world, self.spec, refusal)
                except Doubtful as remedy:
                    if refusal.code == "does-not-start" and refusal in refused:
                        self.take_flags_back()
                    refused.add(refusal)
                    remedy.follow()
                    self.tell(f"  {remedy}")
                    self.world.settle(100)
                    break
                if why:
                    raise Wrong(f"{why}\n{self}")
                self.outcome = refusal.code
                return
            else:
                self.run(None, resume=False)
                self.world.settle(100)
        if any(
            cluster.ever_led and not could_have_quorum(self.world, cluster) for cluster in self.world.clusters
        ):
            self.outcome = "waits in vain"
            return
        raise Wrong(f"there is always something left to do\n{self}")

    def take_flags_back(self) -> None:
        """Let the spec have the flags that the others run with, as the refusal says."""
        running = (self.world.machines[address].etcd.process for address in self.world.serving())
        self.flags = min(process.settings["heartbeat-interval"] for process in running if process) + "ms"
        self.spec = self.make_spec()
        self.tell(f"the spec wants {self.flags} again")

    def converged(self) -> None:
        """Check that the cluster is what the spec says, and that nothing more is done."""
        self.outcome = "converged"
        wanted = {member.host for member in self.spec.spec.members}
        if set(self.world.serving()) != wanted:
            raise Wrong(f"serving are {self.world.serving()}\n{self}")
        for server in self.spec.spec.api_servers.instances:
            process = self.world.machines[server.host].unit(f"apiserver/{server.name}").process
            if process is None or not process.ready:
                raise Wrong(f"API server {server.name} is not ready\n{self}")
        effects = len(self.world.effects_log)
        if self.run(None, resume=False) or len(self.world.effects_log) != effects:
            raise Wrong(f"a converged cluster is changed\n{self}")

    def check(self) -> None:
        """Check what holds at any time."""
        if self.world.violations:
            raise Wrong("\n".join(self.world.violations) + f"\n{self}")
        if sum(cluster.ever_led for cluster in self.world.clusters) > 1:
            raise Wrong(f"a second cluster\n{self}")
        if not self.catastrophe and self.world.serving() and self.world.writes_lost():
            raise Wrong(f"{self.world.writes_lost()} writes lost\n{self}")

    def _before_effect(self, host: str, effect: str) -> None:
        self.tell(f"    {effect} {host}")
        sizes = [sum(not m.learner for m in cluster.members.values()) for cluster in self.world.clusters]
        self.world.allow_outage = (
            self.surprised or min(sizes, default=0) <= 2
        )  # The spec declares these outages.

    def _after_effect(self, host: str, effect: str) -> None:
        """A member that the spec keeps is never taken out while it has good data and could run on it."""
        if effect == "member_remove":
            host = split_url(url_of(self.world, int(self.world.effects_log[-1].args[1])))[1]
        elif effect != "set_data_aside":
            return
        machine = self.world.machines[host]
        data = machine.data if effect == "member_remove" else machine.aside[-1] if machine.aside else None
        if data is None or data.corrupt or data.forgetful or data.foreign or data.cluster is None:
            return
        before = data.cluster.history[-2 if effect == "member_remove" else -1][1]
        kept = host in {member.host for member in self.running.spec.members}
        if kept and data.member_id in before and (machine.full or not machine.etcd.failing):
            raise Wrong(f"{effect} of {host}, which the spec keeps and which has its data\n{self}")

    # What the faults need.

    def any_host(self) -> str:
        """Return a machine's address."""
        return self.random.choice(sorted(self.world.machines))

    def named(self) -> set[str]:
        """Return the hosts that the spec names."""
        return {*self.hosts, *(server.host for server in self.spec.spec.api_servers.instances)}

    def member_host(self) -> str:
        """Return the address of a machine with a member on it, by preference."""
        return self.random.choice(
            sorted(self.world.member_addresses() & self.world.machines.keys()) or [self.any_host()]
        )

    def survives_without(self, address: str) -> bool:
        """Whether the acknowledged writes are safe when a machine's data is gone."""
        for cluster in self.world.clusters:
            voters = [member for member in cluster.members.values() if not member.learner]
            good = 0
            newest = 0
            for voter in voters:
                host = split_url(voter.peer_url)[1]
                machine = self.world.machines.get(host)
                data = machine.data if machine is not None and host != address else None
                if data is None or data.cluster is not cluster or data.member_id != voter.id:
                    continue
                if data.corrupt or data.forgetful or data.foreign:
                    continue
                good += 1
                newest = max(newest, data.applied)
            if cluster.ever_led and (good <= len(voters) // 2 or newest < cluster.acked):
                return False
        return True


class Chaos:
    """Faults at boundaries (by their place in the run) and at checkpoints (by the number of steps done)."""

    def __init__(
        self,
        schedule: Schedule,
        places: dict[int, Callable[[Schedule, str, str, LastWords], None]],
        steps: dict[int, Callable[[Schedule], None]],
    ) -> None:
        self.schedule, self.places, self.steps = schedule, places, steps
        self.hits = self.done = 0

    def hit(self, name: str, label: str, last_words: LastWords) -> None:
        """Do what is due at this boundary."""
        self.hits += 1
        fault = self.places.get(self.hits)
        if fault is not None:
            fault(self.schedule, name, label, last_words)

    def watch(self, event: Event) -> None:
        """Do what is due at this checkpoint."""
        if isinstance(event, StepDone):
            self.done += 1
            fault = self.steps.get(self.done)
            if fault is not None:
                fault(self.schedule)


# What happens at a boundary, in the middle of a step.


def kill(schedule: Schedule, name: str, label: str, last_words: LastWords) -> None:
    """The process that runs etcdplan dies."""
    last_words()
    raise Killed(name if name.endswith("torn") else f"{name} {label}")


def lost_reply(schedule: Schedule, name: str, label: str, last_words: LastWords) -> None:
    """The connection under an effect breaks, before it happens or after."""
    if name.startswith("effect"):
        schedule.tell(f"    lost reply at {name} {label}")
        lose_the_reply(label)


def refusal(schedule: Schedule, name: str, label: str, last_words: LastWords) -> None:
    """The host does not do it."""
    if name.endswith("before"):
        schedule.tell(f"    {label} is refused")
        raise HostRefused("No space left on device.")


def unreachable(schedule: Schedule, name: str, label: str, last_words: LastWords) -> None:
    """The host cannot be reached for a moment."""
    if name.endswith("before"):
        schedule.tell(f"    {label} does not reach its host")
        raise HostUnreachable("No route to host.")


def cut(schedule: Schedule, name: str, label: str, last_words: LastWords) -> None:
    """A host goes out of reach, and may come back by itself."""
    address = host_of_effect(label) if name.startswith("effect") else schedule.any_host()
    schedule.tell(f"    {address} is cut off")
    schedule.world.cut_network(address)
    if schedule.random.random() < 0.5:
        schedule.world.at(schedule.random.uniform(0.1, 30), lambda: schedule.world.restore_network(address))


def crash(schedule: Schedule, name: str, label: str, last_words: LastWords) -> None:
    """A process dies or hangs; that the plan did not see it coming is nobody's fault."""
    schedule.surprised = True
    schedule.random.choice([process_dies, process_hangs, power_goes])(schedule)


def freeze(schedule: Schedule, name: str, label: str, last_words: LastWords) -> None:
    """etcdplan is stopped for a while (SIGSTOP), and goes on."""
    seconds = schedule.random.choice([1.0, 40.0, HOURS])
    schedule.frozen += seconds
    schedule.tell(f"    frozen for {seconds} s")
    schedule.world.clock.sleep(seconds)


AT_BOUNDARIES: list[Callable[[Schedule, str, str, LastWords], None]] = [
    kill,
    kill,
    kill,
    lost_reply,
    lost_reply,
    refusal,
    unreachable,
    cut,
    crash,
    freeze,
]


# What happens at a checkpoint, or between two runs.


def process_dies(schedule: Schedule) -> None:
    """A process ends."""
    address = schedule.any_host()
    unit = schedule.random.choice(sorted(schedule.world.machines[address].units))
    schedule.tell(f"{unit} on {address} dies")
    schedule.world.kill(address, unit)


def process_hangs(schedule: Schedule) -> None:
    """A process stops in its tracks."""
    address = schedule.any_host()
    unit = schedule.random.choice(sorted(schedule.world.machines[address].units))
    schedule.tell(f"{unit} on {address} hangs")
    schedule.world.hang(address, unit)


def power_goes(schedule: Schedule) -> None:
    """A machine loses its power, and may boot by itself."""
    address = schedule.any_host()
    schedule.tell(f"{address} has no power")
    schedule.world.power_cut(address)
    if schedule.random.random() < 0.5:
        schedule.world.at(
            schedule.random.uniform(1, 60),
            lambda: None if schedule.world.machines[address].powered else schedule.world.boot(address),
        )


def power_comes(schedule: Schedule) -> None:
    """Machines without power boot, those out of reach are back."""
    for address, machine in schedule.world.machines.items():
        schedule.world.restore_network(address)
        if not machine.powered:
            schedule.tell(f"{address} boots")
            schedule.world.boot(address, autostart=schedule.random.random() < 0.8)


def disk_goes(schedule: Schedule) -> None:
    """A member's data is lost, seldom more than the cluster survives."""
    address = schedule.member_host()
    if not schedule.survives_without(address):
        recorded = any(machine.record is not None for machine in schedule.world.machines.values())
        if schedule.random.random() < 0.8 or not recorded:
            return
        schedule.catastrophe = True
    schedule.tell(f"the data of {address} is lost")
    schedule.world.lose_disk(address)


def data_rots(schedule: Schedule) -> None:
    """etcd panics on its data from now on."""
    address = schedule.member_host()
    if schedule.survives_without(address) and schedule.world.machines[address].data is not None:
        schedule.tell(f"the data of {address} is damaged")
        schedule.world.corrupt_data(address)


def machine_is_replaced(schedule: Schedule) -> None:
    """A new machine stands where an old one stood."""
    address = schedule.member_host()
    machines = schedule.world.machines
    others = {other for other in schedule.named() - {address} if other in machines and machines[other].record}
    if schedule.survives_without(address) and (others or not machines[address].record):
        schedule.tell(f"{address} is a new machine")
        schedule.world.replace_machine(address)
        fresh(schedule.spec, schedule.world)


def network_splits(schedule: Schedule) -> None:
    """A member is cut from its peers for a while."""
    address = schedule.member_host()
    others = [other for other in schedule.world.machines if other != address]
    schedule.tell(f"{address} is cut from the others")
    schedule.world.partition([address], others)
    schedule.world.at(schedule.random.uniform(1, 40), schedule.world.heal)


def leader_moves(schedule: Schedule) -> None:
    """Somebody hands the leadership over."""
    for cluster in schedule.world.clusters:
        leader = cluster.leader
        others = [p for p in schedule.world.live_etcds() if p is not leader and p.ready and p.data]
        heirs = [
            p for p in others if p.data and p.data.cluster is cluster and p.data.member_id in cluster.members
        ]
        heirs = [p for p in heirs if p.data and not cluster.members[p.data.member_id].learner]
        if leader is not None and leader.ready and heirs:
            heir = schedule.random.choice(heirs)
            assert heir.data is not None
            schedule.tell(f"{heir.machine.address} leads")
            url = leader.settings["advertise-client-urls"]
            with suppress(EtcdplanError):
                fake_calls.move_leader(schedule.world, leader.machine, url, heir.data.member_id)
            schedule.world.react()


def started_by_hand(schedule: Schedule) -> None:
    """Somebody starts an etcd that does not run."""
    address = schedule.any_host()
    machine = schedule.world.machines[address]
    if machine.powered and machine.etcd.settings is not None and machine.etcd.process is None:
        schedule.tell(f"etcd on {address} is started by hand")
        schedule.world.start(address)


def edited_by_hand(schedule: Schedule) -> None:
    """Somebody edits a file, and sometimes restarts the process."""
    address = schedule.member_host()
    unit = schedule.world.machines[address].etcd
    if unit.settings is not None:
        schedule.tell(f"the flags of etcd on {address} are edited")
        unit.settings = {**unit.settings, "snapshot-count": "5000"}


def disk_fills(schedule: Schedule) -> None:
    """Nothing can be written on a host, until it is mended."""
    address = schedule.any_host()
    schedule.tell(f"the disk of {address} is full")
    schedule.world.fill_disk(address)


def fact_hides(schedule: Schedule) -> None:
    """A part of a host cannot be read."""
    address = schedule.any_host()
    fact = schedule.random.choice(["data", "record", "trust", "leaf/peer", "etcd.settings", "etcd.process"])
    schedule.tell(f"{fact} of {address} cannot be read")
    schedule.world.hide(address, fact)


def mended(schedule: Schedule) -> None:
    """Full disks have room again, and everything can be read."""
    for address, machine in schedule.world.machines.items():
        machine.full, machine.hidden = False, {}
        for unit in machine.units:
            schedule.world.wake(address, unit)


def spec_changes(schedule: Schedule) -> None:
    """The spec asks for something else."""
    pool = [f"10.0.0.{n}" for n in range(1, 8)]
    free = [host for host in pool if host not in schedule.hosts]
    hosts = list(schedule.hosts)
    match schedule.random.choice(["scale", "move", "move", "flags", "names", "servers"]):
        case "scale" if schedule.connect == "all":
            size = schedule.random.choice([size for size in (1, 3, 5) if size != len(hosts)])
            hosts = (hosts + free)[:size]
        case "move":
            silent = [i for i, host in enumerate(hosts) if not schedule.world.machines[host].reachable]
            place = schedule.random.choice(silent or list(range(len(hosts))))
            hosts[place] = schedule.random.choice(free)
        case "names":
            schedule.random.shuffle(hosts)
        case "servers":
            schedule.api_servers = schedule.random.randint(schedule.api_servers, 3)
            schedule.connect = schedule.random.choice(["all", "own"]) if schedule.api_servers else "all"
            schedule.world.allow_api_outage |= schedule.connect == "own"
        case _:
            schedule.flags = schedule.random.choice(["50ms", "100ms", "200ms"])
    servers = schedule.named() - {*schedule.hosts}
    remembered = {
        address for address, machine in schedule.world.machines.items() if machine.record is not None
    }
    for former in (remembered, {*schedule.hosts, *servers}):
        if former and not former & {*hosts, *servers}:
            return  # A spec that names no host of the old cluster is another cluster's; nobody could tell.
    schedule.hosts = hosts
    schedule.spec = schedule.make_spec()
    fresh(schedule.spec, schedule.world)
    schedule.tell(f"the spec wants {', '.join(hosts)} with {schedule.flags}")


BETWEEN: list[Callable[[Schedule], None]] = [
    process_dies,
    process_hangs,
    power_goes,
    power_comes,
    power_comes,
    disk_goes,
    disk_goes,
    data_rots,
    machine_is_replaced,
    network_splits,
    leader_moves,
    started_by_hand,
    edited_by_hand,
    disk_fills,
    fact_hides,
    mended,
    spec_changes,
    spec_changes,
    spec_changes,
]
