"""Is a refusal just? Judged from the world itself, without the planner and its model."""

from collections.abc import Callable

from etcdplan.planner.refusal import Refusal
from etcdplan.spec.models import Spec
from tests.support import fake_calls
from tests.support.fake_etcd import FakeCluster
from tests.support.fake_machine import FakeMachine, split_url
from tests.support.fake_world import FakeWorld


class Doubtful(Exception):
    """The refusal names a remedy that a person can follow; then there must be a way on."""

    def __init__(self, what: str, follow: Callable[[], object]) -> None:
        super().__init__(what)
        self.follow = follow


def unjust(world: FakeWorld, spec: Spec, refusal: Refusal) -> str:
    """Return why a refusal is not just, nothing when it is; raise `Doubtful` when its remedy can be tried."""
    cluster = next((cluster for cluster in world.clusters if cluster.ever_led), None)
    match refusal.code:
        case "quorum-lost" | "all-data-gone" | "nobody-answers" | "does-not-start" | "does-not-serve":
            if cluster is not None and not could_have_quorum(world, cluster):
                return ""
            idle = [address for address, machine in world.machines.items() if _could_run(machine)]
            if idle:
                raise Doubtful(f"started: {', '.join(idle)}", lambda: _start(world, idle))
            return "nothing that could run is down"
        case "foreign-unstarted":
            wanted = {member.host for member in spec.spec.members}
            raise Doubtful("removed it", lambda: _remove_unstarted(world, wanted))
        case "host-in-use":
            return ""
        case "spec-changed" | "founding-broken":
            return "" if cluster is None or not _recorded(world) else "the founding is over"
        case _:
            return f"nobody expects {refusal.code}"


def could_have_quorum(world: FakeWorld, cluster: FakeCluster) -> bool:
    """Whether enough voters still have good data of their own, wherever it lies."""
    voters = [member for member in cluster.members.values() if not member.learner]
    good = 0
    for voter in voters:
        machine = world.machines.get(split_url(voter.peer_url)[1])
        data = machine.data if machine is not None else None
        whole = data is not None and not (data.corrupt or data.forgetful or data.foreign)
        good += bool(whole and data and data.cluster is cluster and data.member_id == voter.id)
    return good > len(voters) // 2


def _could_run(machine: FakeMachine) -> bool:
    unit = machine.etcd
    idle = unit.process is None or not unit.process.ready
    return idle and unit.settings is not None and (machine.data is not None or unit.failing)


def _start(world: FakeWorld, addresses: list[str]) -> None:
    for address in addresses:
        world.kill(address)
        world.start(address)


def _recorded(world: FakeWorld) -> bool:
    return any(machine.record is not None for machine in world.machines.values())


def _remove_unstarted(world: FakeWorld, wanted: set[str]) -> None:
    for cluster in world.clusters:
        leader = cluster.leader
        if leader is None:
            continue
        for member in [*cluster.members.values()]:
            if not member.name and split_url(member.peer_url)[1] not in wanted:
                url = leader.settings["advertise-client-urls"]
                fake_calls.member_remove(world, leader.machine, url, member.id)
                world.react()
