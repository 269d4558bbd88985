"""Everything that can go wrong with a cluster, one fault a function, on the truth of a `World`.

A fault returns what it did, or None when there was nothing to break.
"""

from collections.abc import Callable
from dataclasses import replace
from random import Random

from etcdplan.diff.target import Target
from etcdplan.model.effects import AddLearner, ImpossibleEffect, Promote, Remove
from etcdplan.model.facts import ABSENT, known
from etcdplan.model.settle import settle
from etcdplan.model.state import Data, Host, Member, Process, Settings, Unit, host_of
from tests.support.model_world import World

Fault = Callable[[Random, World, Target], str | None]


def _etcd_host(rng: Random, world: World, *, running: bool = True) -> Host | None:
    """Return a host whose etcd has data, and runs if wanted; more often one that leads."""
    hosts = [
        host
        for host in world.state.hosts.values()
        if host.data.value is not None and (not running or host.etcd.process.value is not None)
    ]
    leader = world.state.hosts.get(host_of(world.state.leader)) if world.state.leader else None
    if leader in hosts and rng.random() < 0.3:
        return leader
    return rng.choice(hosts) if hosts else None


def kill(rng: Random, world: World, target: Target) -> str | None:
    host = _etcd_host(rng, world)
    if host is None:
        return None
    world.change(host.address, etcd=replace(host.etcd, process=ABSENT))
    return f"kill etcd {host.address}"


def kill_all(rng: Random, world: World, target: Target) -> str | None:
    """A power cut, after which nothing starts by itself."""
    for host in list(world.state.hosts.values()):
        servers = {name: replace(unit, process=ABSENT) for name, unit in host.api_servers.items()}
        world.change(host.address, etcd=replace(host.etcd, process=ABSENT), api_servers=servers)
    return "kill all"


def hang(rng: Random, world: World, target: Target) -> str | None:
    host = _etcd_host(rng, world)
    if host is None or host.etcd.process.value is None:
        return None
    process = replace(host.etcd.process.value, hung=True, answering=False)
    world.change(host.address, etcd=replace(host.etcd, process=known(process)))
    return f"hang etcd {host.address}"


def lose_disk(rng: Random, world: World, target: Target) -> str | None:
    host = _etcd_host(rng, world, running=False)
    if host is None:
        return None
    world.change(host.address, data=ABSENT, etcd=replace(host.etcd, process=ABSENT))
    return f"lose data {host.address}"


def lose_all_disks(rng: Random, world: World, target: Target) -> str | None:
    for host in list(world.state.hosts.values()):
        if host.data.value is not None:
            world.change(host.address, data=ABSENT, etcd=replace(host.etcd, process=ABSENT))
    return "lose all data"


def foreign_data(rng: Random, world: World, target: Target) -> str | None:
    address = rng.choice(sorted(world.state.hosts))
    host = world.state.hosts[address]
    data = Data(0, 0, foreign="a PostgreSQL cluster")
    world.change(address, data=known(data), etcd=replace(host.etcd, process=ABSENT))
    return f"foreign data {address}"


def stale_data(rng: Random, world: World, target: Target) -> str | None:
    """An old disk comes back: of an earlier member of the cluster, or of another cluster."""
    membership = world.state.membership.value
    if membership is None:
        return None
    address = rng.choice(sorted(world.state.hosts))
    host = world.state.hosts[address]
    cluster = membership.cluster_id if rng.random() < 0.7 else 0xDEAD
    data = Data(cluster, rng.choice((0xA1, 0xA2)))
    world.change(address, data=known(data), etcd=replace(host.etcd, process=ABSENT))
    return f"stale data {address}"


def founders_data(rng: Random, world: World, target: Target) -> str | None:
    """Somebody's data lie where a cluster is about to be founded."""
    if any(host.record.value for host in world.state.hosts.values()):
        return None
    address = rng.choice(sorted(target.member_hosts))
    host = world.state.hosts[address]
    data = Data(rng.choice((0xDEAD, target.founding_id)), 0xA1)
    world.change(address, data=known(data), etcd=replace(host.etcd, process=ABSENT, settings=ABSENT))
    return f"data before the founding {address}"


def second_cluster(rng: Random, world: World, target: Target) -> str | None:
    """An etcd of another cluster answers where ours should."""
    host = _etcd_host(rng, world)
    if host is None:
        return None
    world.change(host.address, data=known(Data(0xBEEF, 0xB1)))
    return f"second cluster {host.address}"


def new_machine(rng: Random, world: World, target: Target) -> str | None:
    """A host is replaced by an empty machine with the same address."""
    address = rng.choice(sorted(world.state.hosts))
    world.state = settle(world.state.with_host(Host(address)))
    world.prepare(target)
    return f"new machine {address}"


def _api_unit(rng: Random, world: World) -> tuple[Host, str] | None:
    units = [(host, name) for host in world.state.hosts.values() for name in host.api_servers]
    return rng.choice(units) if units else None


def kill_api_server(rng: Random, world: World, target: Target) -> str | None:
    found = _api_unit(rng, world)
    if found is None:
        return None
    host, name = found
    unit = replace(host.api_servers[name], process=ABSENT)
    world.change(host.address, api_servers={**host.api_servers, name: unit})
    return f"kill {name}"


def hang_api_server(rng: Random, world: World, target: Target) -> str | None:
    found = _api_unit(rng, world)
    if found is None:
        return None
    host, name = found
    process = host.api_servers[name].process.value
    if process is None:
        return None
    unit = replace(host.api_servers[name], process=known(replace(process, hung=True, answering=False)))
    world.change(host.address, api_servers={**host.api_servers, name: unit})
    return f"hang {name}"


def _drifted(rng: Random, settings: Settings) -> Settings:
    if "etcd-servers" in settings and rng.random() < 0.8:
        urls = settings["etcd-servers"].split(",")
        servers = rng.choice(
            (urls[:1], urls[::-1], ["https://192.0.2.1:2379"], [*urls, "https://192.0.2.1:2379"])
        )
        return {**settings, "etcd-servers": ",".join(servers)}
    return {**settings, rng.choice(("snapshot-count", "etcd-count-metric-poll-period")): "7"}


def point_elsewhere(rng: Random, world: World, target: Target) -> str | None:
    """Somebody edited an API server's flags: on disk, or and restarted it."""
    found = _api_unit(rng, world)
    if found is None:
        return None
    host, name = found
    unit = host.api_servers[name]
    if not unit.settings.value:
        return None
    settings = _drifted(rng, unit.settings.value)
    process = unit.process
    if process.value is not None and rng.random() < 0.6:
        process = known(replace(process.value, settings=settings))
    if rng.random() < 0.8 or process is unit.process:
        unit = replace(unit, settings=known(settings))
    world.change(host.address, api_servers={**host.api_servers, name: replace(unit, process=process)})
    return f"drift {name}"


def drift(rng: Random, world: World, target: Target) -> str | None:
    """Somebody edited etcd's settings: on disk, in the process, or both."""
    host = _etcd_host(rng, world)
    if host is None or host.etcd.process.value is None or host.etcd.settings.value is None:
        return None
    etcd, process = host.etcd, host.etcd.process.value
    where = rng.choice(("disk", "process", "both"))
    if where != "process":
        etcd = replace(etcd, settings=known(_drifted(rng, host.etcd.settings.value)))
    if where != "disk":
        etcd = replace(etcd, process=known(replace(process, settings=_drifted(rng, process.settings))))
    world.change(host.address, etcd=etcd)
    return f"drift etcd {host.address} {where}"


def unseal(rng: Random, world: World, target: Target) -> str | None:
    """Somebody sets `initial-cluster-state` back to new."""
    host = _etcd_host(rng, world, running=False)
    if host is None or host.etcd.settings.value is None:
        return None
    settings = {**host.etcd.settings.value, "initial-cluster-state": "new"}
    world.change(host.address, etcd=replace(host.etcd, settings=known(settings)))
    return f"unseal {host.address}"


def lose_settings(rng: Random, world: World, target: Target) -> str | None:
    host = _etcd_host(rng, world, running=False)
    if host is None:
        return None
    world.change(host.address, etcd=replace(host.etcd, settings=ABSENT))
    return f"no settings {host.address}"


def spoil_certificate(rng: Random, world: World, target: Target) -> str | None:
    leafs = [(host, name) for host in world.state.hosts.values() for name in host.leafs]
    if not leafs:
        return None
    host, name = rng.choice(leafs)
    leaf = host.leafs[name].value
    if leaf is None:
        return None
    how = rng.choice(("expired", "expiring", "key", "issuer", "sans", "usages", "missing"))
    now = world.state.now
    spoilt = {
        "expired": replace(leaf, not_after=now - 1),
        "expiring": replace(leaf, not_after=now + 3600),
        "key": replace(leaf, key_matches=False),
        "issuer": replace(leaf, issuer=""),
        "sans": replace(leaf, sans=leaf.sans[1:]),
        "usages": replace(leaf, usages=()),
    }.get(how)
    world.change(host.address, leafs={**host.leafs, name: ABSENT if spoilt is None else known(spoilt)})
    return f"certificate {name} {host.address} {how}"


def lose_trust(rng: Random, world: World, target: Target) -> str | None:
    address = rng.choice(sorted(world.state.hosts))
    world.change(address, trust=ABSENT if rng.random() < 0.7 else known(("ca-0",)))
    return f"trust {address}"


def lose_record(rng: Random, world: World, target: Target) -> str | None:
    address = rng.choice(sorted(world.state.hosts))
    host = world.state.hosts[address]
    if host.record.value is None:
        return None
    how = rng.choice(("missing", "missing", "other cluster", "other ID"))
    record = host.record.value
    if how == "other cluster":
        world.change(address, record=known(replace(record, cluster="elsewhere", cluster_id=0xE1)))
    else:
        world.change(address, record=ABSENT if how == "missing" else known(replace(record, cluster_id=0xE1)))
    return f"record {address} {how}"


def lose_all_records(rng: Random, world: World, target: Target) -> str | None:
    """All hosts forget the cluster, or who its members are."""
    empty = rng.random() < 0.3
    for address, host in sorted(world.state.hosts.items()):
        record = host.record.value
        world.change(address, record=known(replace(record, members={})) if empty and record else ABSENT)
    return f"lose all records{', but not the names' if empty else ''}"


def add_by_hand(rng: Random, world: World, target: Target) -> str | None:
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


def learner_by_hand(rng: Random, world: World, target: Target) -> str | None:
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


def promote_by_hand(rng: Random, world: World, target: Target) -> str | None:
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


def remove_by_hand(rng: Random, world: World, target: Target) -> str | None:
    membership = world.state.membership.value
    if membership is None or len(membership.members) < 2 or world.state.leader is None:
        return None
    url = rng.choice(sorted(membership.members))
    world.do(Remove(url))
    world.settle()
    return f"remove {url} by hand"


def join_by_hand(rng: Random, world: World, target: Target) -> str | None:
    """Somebody adds a member of the spec as a learner in the way that etcdplan would, and walks away."""
    membership = world.state.membership.value
    urls = [url for url in target.members if membership and url not in membership.members]
    if not urls or world.state.leader is None:
        return None
    world.do(AddLearner(rng.choice(urls)))
    world.settle()
    return "add a learner by hand"


def move_leader(rng: Random, world: World, target: Target) -> str | None:
    membership = world.state.membership.value
    voters = [m.peer_url for m in membership.voters() if m.serving] if membership else []
    if not voters:
        return None
    world.state = replace(world.state, leader=rng.choice(voters))
    return f"leader {world.state.leader}"


def crash_loop(rng: Random, world: World, target: Target) -> str | None:
    """The supervisor gave up on an etcd: its data is damaged, or it may not write."""
    hosts = [host for host in world.state.hosts.values() if host.etcd.settings.value is not None]
    if not hosts:
        return None
    host = rng.choice(hosts)
    world.change(host.address, etcd=replace(host.etcd, process=ABSENT, failing=True))
    return f"crash loop {host.address}"


def hold(rng: Random, world: World, target: Target) -> str | None:
    host = _etcd_host(rng, world)
    if host is None:
        return None
    world.change(host.address, etcd=replace(host.etcd, process=ABSENT, held=True))
    return f"hold {host.address}"


def skew_version(rng: Random, world: World, target: Target) -> str | None:
    membership = world.state.membership.value
    if membership is None or not membership.members:
        return None
    url = rng.choice(sorted(membership.members))
    member = replace(membership.members[url], version="3.3.27")
    world.state = world.state.with_members(membership, {**membership.members, url: member})
    return f"version skew {url}"


def later(rng: Random, world: World, target: Target) -> str | None:
    days = rng.choice((1, 300, 340, 366))
    world.state = replace(world.state, now=world.state.now + days * 86_400)
    return f"{days} days later"


FAULTS: tuple[tuple[int, Fault], ...] = (
    (8, kill),
    (4, hang),
    (8, lose_disk),
    (2, foreign_data),
    (2, stale_data),
    (1, founders_data),
    (1, second_cluster),
    (4, new_machine),
    (1, kill_all),
    (1, lose_all_disks),
    (3, kill_api_server),
    (2, hang_api_server),
    (3, point_elsewhere),
    (3, drift),
    (1, lose_settings),
    (1, unseal),
    (4, spoil_certificate),
    (1, lose_trust),
    (2, lose_record),
    (1, lose_all_records),
    (2, add_by_hand),
    (1, learner_by_hand),
    (2, promote_by_hand),
    (2, remove_by_hand),
    (2, join_by_hand),
    (2, move_leader),
    (3, crash_loop),
    (1, hold),
    (1, skew_version),
    (2, later),
)
