"""What somebody does to the members of a cluster by hand, on the truth of a `World`; as in `model_faults`."""

from random import Random

from etcdplan.diff.target import Target
from etcdplan.model.effects import AddLearner, ImpossibleEffect, Promote, Remove
from etcdplan.model.facts import known
from etcdplan.model.settle import settle
from etcdplan.model.state import Data, Member, Process, Unit, host_of
from tests.support.model_world import World


def add(rng: Random, world: World, target: Target) -> str | None:
    """Somebody adds a member, of the spec or not, as a learner or a voter, and has not started it yet."""
    membership = world.state.membership.value
    if membership is None:
        return None
    urls = [url for url in (*target.members, "https://10.9.9.9:2380") if url not in membership.members]
    if not urls:
        return None
    url = rng.choice(urls)
    newcomer = Member(0xADD, "", url, (), learner=rng.random() < 0.6, serving=False)
    world.machine(host_of(url))
    world.state = settle(world.state.with_members(membership, {**membership.members, url: newcomer}))
    return f"add {url} by hand, {'learner' if newcomer.learner else 'voter'}"


def start_learner(rng: Random, world: World, target: Target) -> str | None:
    """Somebody adds a learner and starts it on a host that has no member."""
    membership = world.state.membership.value
    if (
        membership is None
        or world.state.leader is None
        or any(m.learner for m in membership.members.values())
    ):
        return None
    scheme = "https" if target.ca else "http"
    used = {host_of(url) for url in (*membership.members, *target.members)}
    host = world.machine(rng.choice(("10.0.0.11", "10.0.0.12")))
    url, client = (f"{scheme}://{host.address}:{port}" for port in (2380, 2379))
    if host.address in used or host.data.value is not None:
        return None
    newcomer = Member(0xADE, "by-hand", url, (client,), learner=True, serving=False)
    world.state = world.state.with_members(membership, {**membership.members, url: newcomer})
    settings = {"name": "by-hand", "advertise-client-urls": client}
    etcd = Unit(known(settings), known(Process(settings, answering=True)))
    world.change(host.address, data=known(Data(membership.cluster_id, newcomer.id)), etcd=etcd)
    return f"learner by hand {url}"


def promote(rng: Random, world: World, target: Target) -> str | None:
    membership = world.state.membership.value
    learners = [url for url, m in membership.members.items() if m.learner] if membership else []
    if not learners:
        return None
    try:
        world.do(Promote(rng.choice(learners)))
    except ImpossibleEffect:
        return None
    world.settle()
    return "promote by hand"


def remove(rng: Random, world: World, target: Target) -> str | None:
    membership = world.state.membership.value
    if membership is None or len(membership.members) < 2 or world.state.leader is None:
        return None
    url = rng.choice(sorted(membership.members))
    world.do(Remove(url))
    world.settle()
    return f"remove {url} by hand"


def join(rng: Random, world: World, target: Target) -> str | None:
    """Somebody adds a member of the spec as a learner in the way that etcdplan would, and walks away."""
    membership = world.state.membership.value
    urls = [url for url in target.members if membership and url not in membership.members]
    if not urls or world.state.leader is None:
        return None
    world.do(AddLearner(rng.choice(urls)))
    world.settle()
    return "add a learner by hand"
