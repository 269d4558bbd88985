"""What befalls a run and its world: faults at boundaries, and between steps and runs."""

from collections.abc import Callable
from contextlib import suppress

from etcdplan.apply.events import Event, StepDone
from etcdplan.apply.failpoints import Killed, LastWords
from etcdplan.errors import EtcdplanError
from etcdplan.hosts.ports import HostRefused, HostUnreachable
from tests.faults.boundaries import host_of_effect, lose_the_reply
from tests.faults.situation import HOURS, Situation
from tests.support import fake_calls
from tests.support.scenarios import fresh


class Chaos:
    """Faults at boundaries (by their place in the run) and at checkpoints (by the number of steps done)."""

    def __init__(
        self,
        situation: Situation,
        places: dict[int, Callable[[Situation, str, str, LastWords], None]],
        steps: dict[int, Callable[[Situation], None]],
    ) -> None:
        self.situation, self.places, self.steps = situation, places, steps
        self.hits = self.done = 0

    def hit(self, name: str, label: str, last_words: LastWords) -> None:
        """Do what is due at this boundary."""
        self.hits += 1
        fault = self.places.get(self.hits)
        if fault is not None:
            fault(self.situation, name, label, last_words)

    def watch(self, event: Event) -> None:
        """Do what is due at this checkpoint."""
        if isinstance(event, StepDone):
            self.done += 1
            fault = self.steps.get(self.done)
            if fault is not None:
                fault(self.situation)


# What happens at a boundary, in the middle of a step.


def kill(situation: Situation, name: str, label: str, last_words: LastWords) -> None:
    """The process that runs etcdplan dies."""
    last_words()
    raise Killed(name if name.endswith("torn") else f"{name} {label}")


def lost_reply(situation: Situation, name: str, label: str, last_words: LastWords) -> None:
    """The connection under an effect breaks, before it happens or after."""
    if name.startswith("effect"):
        situation.tell(f"    lost reply at {name} {label}")
        lose_the_reply(label)


def refusal(situation: Situation, name: str, label: str, last_words: LastWords) -> None:
    """The host does not do it."""
    if name.endswith("before"):
        situation.tell(f"    {label} is refused")
        raise HostRefused("No space left on device.")


def unreachable(situation: Situation, name: str, label: str, last_words: LastWords) -> None:
    """The host cannot be reached for a moment."""
    if name.endswith("before"):
        situation.tell(f"    {label} does not reach its host")
        raise HostUnreachable("No route to host.")


def cut(situation: Situation, name: str, label: str, last_words: LastWords) -> None:
    """A host goes out of reach, and may come back by itself."""
    address = host_of_effect(label) if name.startswith("effect") else situation.any_host()
    situation.tell(f"    {address} is cut off")
    situation.world.cut_network(address)
    if situation.random.random() < 0.5:
        situation.world.at(
            situation.random.uniform(0.1, 30), lambda: situation.world.restore_network(address)
        )


def crash(situation: Situation, name: str, label: str, last_words: LastWords) -> None:
    """A process dies or hangs; that the plan did not see it coming is nobody's fault."""
    situation.surprised = True
    situation.random.choice([process_dies, process_hangs, power_goes])(situation)


def freeze(situation: Situation, name: str, label: str, last_words: LastWords) -> None:
    """etcdplan is stopped for a while (SIGSTOP), and goes on."""
    seconds = situation.random.choice([1.0, 40.0, HOURS])
    situation.frozen += seconds
    situation.tell(f"    frozen for {seconds} s")
    situation.world.clock.sleep(seconds)


AT_BOUNDARIES: list[Callable[[Situation, str, str, LastWords], None]] = [
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


def process_dies(situation: Situation) -> None:
    """A process ends."""
    address = situation.any_host()
    unit = situation.random.choice(sorted(situation.world.machines[address].units))
    situation.tell(f"{unit} on {address} dies")
    situation.world.kill(address, unit)


def process_hangs(situation: Situation) -> None:
    """A process stops in its tracks."""
    address = situation.any_host()
    unit = situation.random.choice(sorted(situation.world.machines[address].units))
    situation.tell(f"{unit} on {address} hangs")
    situation.world.hang(address, unit)


def power_goes(situation: Situation) -> None:
    """A machine loses its power, and may boot by itself."""
    address = situation.any_host()
    situation.tell(f"{address} has no power")
    situation.world.power_cut(address)
    if situation.random.random() < 0.5:
        situation.world.at(
            situation.random.uniform(1, 60),
            lambda: None if situation.world.machines[address].powered else situation.world.boot(address),
        )


def power_comes(situation: Situation) -> None:
    """Machines without power boot, those out of reach are back."""
    for address, machine in situation.world.machines.items():
        situation.world.restore_network(address)
        if not machine.powered:
            situation.tell(f"{address} boots")
            situation.world.boot(address, autostart=situation.random.random() < 0.8)


def disk_goes(situation: Situation) -> None:
    """A member's data is lost, seldom more than the cluster survives."""
    address = situation.member_host()
    if not situation.survives_without(address):
        recorded = any(machine.record is not None for machine in situation.world.machines.values())
        if situation.random.random() < 0.8 or not recorded:
            return
        situation.catastrophe = True
    situation.tell(f"the data of {address} is lost")
    situation.world.lose_disk(address)


def data_rots(situation: Situation) -> None:
    """etcd panics on its data from now on."""
    address = situation.member_host()
    if situation.survives_without(address) and situation.world.machines[address].data is not None:
        situation.tell(f"the data of {address} is damaged")
        situation.world.corrupt_data(address)


def machine_is_replaced(situation: Situation) -> None:
    """A new machine stands where an old one stood."""
    address = situation.member_host()
    machines = situation.world.machines
    others = {
        other for other in situation.named() - {address} if other in machines and machines[other].record
    }
    if situation.survives_without(address) and (others or not machines[address].record):
        situation.tell(f"{address} is a new machine")
        situation.world.replace_machine(address)
        fresh(situation.spec, situation.world)


def network_splits(situation: Situation) -> None:
    """A member is cut from its peers for a while."""
    address = situation.member_host()
    others = [other for other in situation.world.machines if other != address]
    situation.tell(f"{address} is cut from the others")
    situation.world.partition([address], others)
    situation.world.at(situation.random.uniform(1, 40), situation.world.heal)


def leader_moves(situation: Situation) -> None:
    """Somebody hands the leadership over."""
    for cluster in situation.world.clusters:
        leader = cluster.leader
        others = [p for p in situation.world.live_etcds() if p is not leader and p.ready and p.data]
        heirs = [
            p for p in others if p.data and p.data.cluster is cluster and p.data.member_id in cluster.members
        ]
        heirs = [p for p in heirs if p.data and not cluster.members[p.data.member_id].learner]
        if leader is not None and leader.ready and heirs:
            heir = situation.random.choice(heirs)
            assert heir.data is not None
            situation.tell(f"{heir.machine.address} leads")
            url = leader.settings["advertise-client-urls"]
            with suppress(EtcdplanError):
                fake_calls.move_leader(situation.world, leader.machine, url, heir.data.member_id)
            situation.world.react()


def started_by_hand(situation: Situation) -> None:
    """Somebody starts an etcd that does not run."""
    address = situation.any_host()
    machine = situation.world.machines[address]
    if machine.powered and machine.etcd.settings is not None and machine.etcd.process is None:
        situation.tell(f"etcd on {address} is started by hand")
        situation.world.start(address)


def edited_by_hand(situation: Situation) -> None:
    """Somebody edits a file, and sometimes restarts the process."""
    address = situation.member_host()
    unit = situation.world.machines[address].etcd
    if unit.settings is not None:
        situation.tell(f"the flags of etcd on {address} are edited")
        unit.settings = {**unit.settings, "snapshot-count": "5000"}


def disk_fills(situation: Situation) -> None:
    """Nothing can be written on a host, until it is mended."""
    address = situation.any_host()
    situation.tell(f"the disk of {address} is full")
    situation.world.fill_disk(address)


def fact_hides(situation: Situation) -> None:
    """A part of a host cannot be read."""
    address = situation.any_host()
    fact = situation.random.choice(["data", "record", "trust", "leaf/peer", "etcd.settings", "etcd.process"])
    situation.tell(f"{fact} of {address} cannot be read")
    situation.world.hide(address, fact)


def mended(situation: Situation) -> None:
    """Full disks have room again, and everything can be read."""
    for address, machine in situation.world.machines.items():
        machine.full, machine.hidden = False, {}
        for unit in machine.units:
            situation.world.wake(address, unit)


def spec_changes(situation: Situation) -> None:
    """The spec asks for something else."""
    pool = [f"10.0.0.{n}" for n in range(1, 8)]
    free = [host for host in pool if host not in situation.hosts]
    hosts = list(situation.hosts)
    match situation.random.choice(["scale", "move", "move", "flags", "names", "servers"]):
        case "scale" if situation.connect == "all":
            size = situation.random.choice([size for size in (1, 3, 5) if size != len(hosts)])
            hosts = (hosts + free)[:size]
        case "move":
            silent = [i for i, host in enumerate(hosts) if not situation.world.machines[host].reachable]
            place = situation.random.choice(silent or list(range(len(hosts))))
            hosts[place] = situation.random.choice(free)
        case "names":
            situation.random.shuffle(hosts)
        case "servers":
            situation.api_servers = situation.random.randint(situation.api_servers, 3)
            situation.connect = situation.random.choice(["all", "own"]) if situation.api_servers else "all"
            situation.world.allow_api_outage |= situation.connect == "own"
        case _:
            situation.flags = situation.random.choice(["50ms", "100ms", "200ms"])
    servers = situation.named() - {*situation.hosts}
    remembered = {
        address for address, machine in situation.world.machines.items() if machine.record is not None
    }
    for former in (remembered, {*situation.hosts, *servers}):
        if former and not former & {*hosts, *servers}:
            return  # A spec that names no host of the old cluster is another cluster's; nobody could tell.
    situation.hosts = hosts
    situation.spec = situation.make_spec()
    fresh(situation.spec, situation.world)
    situation.tell(f"the spec wants {', '.join(hosts)} with {situation.flags}")


BETWEEN: list[Callable[[Situation], None]] = [
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
