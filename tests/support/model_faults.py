"""Everything that can go wrong with a cluster, one fault a function, on the truth of a `World`.

A fault returns what it did, or None when there was nothing to break.
"""

from collections.abc import Callable
from dataclasses import replace
from random import Random

from etcdplan.diff.target import Target
from etcdplan.model.corruption import Corruption
from etcdplan.model.facts import ABSENT, known
from etcdplan.model.identity import DEFAULT_CLUSTER
from etcdplan.model.machine import Machine
from etcdplan.model.settle import settle
from etcdplan.model.state import Data, Host, Settings, Unit, host_of
from tests.support import model_by_hand as by_hand
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
    data = Data(rng.choice((0xDEAD, target.founding_id, DEFAULT_CLUSTER)), 0xA1)
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
    """It ends; one that is down is taken off its host."""
    found = _api_unit(rng, world)
    if found is None:
        return None
    host, name = found
    missing = host.api_servers[name].process.value is None
    unit = Unit(missing=True) if missing else replace(host.api_servers[name], process=ABSENT)
    world.change(host.address, api_servers={**host.api_servers, name: unit})
    return f"{'uninstall' if missing else 'kill'} {name}"


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
    if rng.choice((False, True)) and (urls := settings.get("etcd-servers", "").split(","))[0]:
        return {**settings, "etcd-servers-overrides": f"/events#{urls[0]}"}
    return {**settings, "snapshot-count": "7"}


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
    how = rng.choice(("expired", "expiring", "early", "key", "issuer", "sans", "usages", "missing"))
    now = world.state.now
    spoilt = {
        "expired": replace(leaf, not_after=now - 1),
        "expiring": replace(leaf, not_after=now + 3600),
        "early": replace(leaf, not_before=now + 3600),
        "key": replace(leaf, key_matches=False),
        "issuer": replace(leaf, issuer=""),
        "sans": replace(leaf, sans=leaf.sans[1:]),
        "usages": replace(leaf, usages=()),
    }.get(how)
    world.change(host.address, leafs={**host.leafs, name: ABSENT if spoilt is None else known(spoilt)})
    return f"certificate {name} {host.address} {how}"


def wrong_clock(rng: Random, world: World, target: Target) -> str | None:
    address = rng.choice(sorted(world.state.hosts))
    world.change(address, machine=Machine(clock_ahead=known(-3600.0)))
    return f"clock {address}"


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
    for address in sorted(world.state.hosts):
        world.change(address, record=ABSENT)
    return "lose all records"


def forget_names(rng: Random, world: World, target: Target) -> str | None:
    """A power cut, after which the hosts remember a cluster, and none of its members."""
    for address, host in sorted(world.state.hosts.items()):
        record = host.record.value
        world.change(address, record=known(replace(record, members={})) if record else ABSENT)
    return kill_all(rng, world, target) and "forget names, kill all"


def move_leader(rng: Random, world: World, target: Target) -> str | None:
    membership = world.state.membership.value
    voters = [m.peer_url for m in membership.voters() if m.serving] if membership else []
    if not voters:
        return None
    world.state = replace(world.state, leader=rng.choice(voters))
    return f"leader {world.state.leader}"


def crash_loop(rng: Random, world: World, target: Target) -> str | None:
    """The supervisor gave up on an etcd: its data is damaged, or its disk is full. Newcomers fail more often."""
    hosts = [host for host in world.state.hosts.values() if host.etcd.settings.value is not None]
    hosts = [host for host in hosts if host.record.value is None and rng.random() < 0.5] or hosts
    if not hosts:
        return None
    host = rng.choice(hosts)
    full = rng.random() < 0.2
    world.change(host.address, etcd=replace(host.etcd, process=ABSENT, failing=True), full=full)
    return f"crash loop {host.address}{' on a full disk' if full else ''}"


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


def rot(rng: Random, world: World) -> str | None:
    """Let some members hold other data than the rest, and the alarm be raised; or only the alarm."""
    membership = world.state.membership.value
    serving = [voter for voter in membership.voters() if voter.serving] if membership else []
    if membership is None or not serving:
        return None
    others = rng.sample(serving, rng.choice((0, 1, 1, 1, min(2, len(serving)))))
    held = {voter.peer_url: "other" if voter in others else "same" for voter in serving}
    alarms = tuple(sorted(voter.id for voter in others)) or (0,)
    world.state = replace(world.state, corruption=Corruption(alarms, held))
    return f"rot {' '.join(sorted(voter.peer_url for voter in others)) or 'nowhere'}"


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
    (1, wrong_clock),
    (1, lose_trust),
    (2, lose_record),
    (1, lose_all_records),
    (1, forget_names),
    (2, by_hand.add),
    (1, by_hand.start_learner),
    (2, by_hand.promote),
    (2, by_hand.remove),
    (2, by_hand.join),
    (2, move_leader),
    (4, crash_loop),
    (1, hold),
    (1, skew_version),
    (2, later),
)
