"""Random specs, and states that clusters of them get into. All from a seed, so that every case can be had again."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from random import Random
from typing import Any

from etcdplan.diff.target import Target, build_target
from etcdplan.diff.view import View
from etcdplan.model.facts import Fact, unknown
from etcdplan.model.restore import Restore
from etcdplan.model.state import ETCD, Host, State, Unit
from etcdplan.spec.models import Spec
from tests.support.model_faults import FAULTS, rot
from tests.support.model_world import NOW, World, follow
from tests.support.restores import asked_restore

VERSIONS = ("3.4.23", "3.5.29", "3.5.35", "3.6.10", "3.6.16", "3.7.3")
ARCHIVE = {"archive": "etcd.tar.gz", "sha256": "c0ffee11" * 8}
BACKUP = {
    "destinations": ["/srv/here", "s3://bucket/there"],
    "encryption": {
        "recipients": [f"age1{'q' * 58}"],
        "signingKey": "backup.key",
        "trustedKeys": ["backup.pub"],
    },
    "maxAge": "2h",
}
BALANCER = "https://lb.example:2379"
MEMBER_HOSTS = (*(f"10.0.0.{n}" for n in range(1, 9)), "fd00::9", "etcd10.example", "10.0.0.11", "10.0.0.12")
BACKUP_HOSTS = ("10.0.2.1", "10.0.2.2")
API_HOSTS = tuple(f"10.0.1.{n}" for n in range(1, 5))


@dataclass(frozen=True)
class Draft:
    """A spec in the making: members as (name, host), API servers as (name, host, own member)."""

    members: tuple[tuple[str, str], ...]
    api_servers: tuple[tuple[str, str, str], ...] = ()
    connect: str = "all"
    tls: bool = True
    outage: bool = False
    version: str = "3.6.16"
    cluster: str = "test"
    ca: str = "ca-1"
    renew_before: str = "30d"
    flags: Mapping[str, str] = field(default_factory=dict)
    api_flags: Mapping[str, str] = field(default_factory=dict)
    ports: Mapping[tuple[str, str], int] = field(default_factory=dict)
    data_dir: str = "/var/lib/etcd"
    by_themselves: bool = False
    """Whether hosts may take backups by themselves."""

    def spec(self) -> Spec:
        """Write the spec down."""
        own = self.connect == "own"
        tls: dict[str, Any] = {"mode": "none", "allowPlaintext": True}
        if self.tls:
            pair = {"certificate": "pki/a.crt", "key": "pki/a.key"}
            tls = {"ca": pair, "operator": pair, "renewBefore": self.renew_before}
        balancer = BALANCER if self.tls else BALANCER.replace("https", "http")
        return Spec.model_validate(
            {
                "apiVersion": "etcdplan/v1",
                "kind": "EtcdCluster",
                "metadata": {"name": self.cluster},
                "spec": {
                    "etcd": {
                        "version": self.version,
                        "allowOutage": self.outage,
                        "extraArgs": dict(self.flags),
                        "dataDir": self.data_dir,
                        "source": ARCHIVE if self.tls and self.outage else None,
                    },
                    "members": [
                        {
                            "name": name,
                            "host": host,
                            "peerPort": self.ports.get((host, "peer"), 2380),
                            "clientPort": self.ports.get((host, "client"), 2379),
                        }
                        for name, host in self.members
                    ],
                    "tls": tls,
                    "apiServers": {
                        "connect": {"loadBalancer": balancer} if self.connect == "balancer" else self.connect,
                        "instances": [
                            {"name": name, "host": host, **({"member": member} if own else {})}
                            for name, host, member in self.api_servers
                        ],
                        "flags": dict(self.api_flags),
                        # Some of each, as with `source`, without a draw that would change every case there was.
                        "drain": "balancer" if own and self.outage else None,
                    },
                    "backup": None if own or self.outage else {**BACKUP, **self._backup_hosts()},
                },
            }
        )

    def _backup_hosts(self) -> dict[str, Any]:
        """Some have a member that takes backups by itself, some a host beside the cluster; again without a draw."""
        if not self.by_themselves or self.connect != "all" or len(self.members) not in (5, 7):
            return {}
        beside = BACKUP_HOSTS[: len(self.api_servers)]
        return {"schedule": "@hourly", "hosts": [self.members[-1][1], *beside]}

    def target(self) -> Target:
        """Spell the spec out."""
        return self._target

    @cached_property
    def _target(self) -> Target:
        return build_target(self.spec(), ca=self.ca if self.tls else "")


def draw_draft(rng: Random) -> Draft:
    """Draw a spec of one to nine members."""
    count = rng.choice((1, 2, 3, 3, 3, 3, 4, 5, 5, 6, 7, 9))
    hosts = rng.sample(MEMBER_HOSTS[: max(count, 5)], count)
    members = tuple((f"m{MEMBER_HOSTS.index(host) + 1}", host) for host in hosts)
    return _with_api_servers(
        rng,
        Draft(
            members,
            connect=rng.choice(("all", "all", "own", "balancer")),
            tls=rng.random() < 0.8,
            outage=rng.random() < 0.4,
            version=rng.choice(VERSIONS),
            by_themselves=True,
        ),
    )


def _with_api_servers(rng: Random, draft: Draft) -> Draft:
    stacked = rng.random() < 0.5
    places = [host for _, host in draft.members] if stacked else list(API_HOSTS)
    servers = tuple(
        (f"cp{n}", host, draft.members[n % len(draft.members)][0])
        for n, host in enumerate(places[: rng.choice((0, 1, 2, 3, 3))])
    )
    return replace(draft, api_servers=servers)


def _member(rng: Random, draft: Draft) -> tuple[str, str] | None:
    used = {host for _, host in draft.members}
    free = [host for host in MEMBER_HOSTS if host not in used]
    if not free or len(draft.members) >= 9:
        return None
    host = rng.choice(free[:4])
    return f"m{MEMBER_HOSTS.index(host) + 1}", host


def _grow(rng: Random, draft: Draft) -> Draft:
    for _ in range(rng.choice((1, 2, 2))):
        newcomer = _member(rng, draft)
        if newcomer is not None and newcomer[0] not in dict(draft.members):
            draft = replace(draft, members=(*draft.members, newcomer))
    return draft


def _shrink(rng: Random, draft: Draft) -> Draft:
    left = list(draft.members)
    for _ in range(rng.choice((1, 2, 2, 3))):
        if len(left) > 1:
            left.pop(rng.randrange(len(left)))
    return replace(draft, members=tuple(left))


def _exchange(rng: Random, draft: Draft) -> Draft:
    """Put members onto other hosts, stacked API servers staying where they are."""
    for _ in range(rng.choice((1, 1, 2, len(draft.members)))):
        newcomer = _member(rng, draft)
        if newcomer is not None and newcomer[0] not in dict(draft.members):
            left = list(draft.members)
            left[rng.randrange(len(left))] = newcomer
            draft = replace(draft, members=tuple(left))
    return draft


def _rename(rng: Random, draft: Draft) -> Draft:
    left = list(draft.members)
    place = rng.randrange(len(left))
    left[place] = (f"{left[place][0]}-new"[-20:], left[place][1])
    return replace(draft, members=tuple(left)) if len(dict(left)) == len(left) else draft


def _tune(rng: Random, draft: Draft) -> Draft:
    return replace(draft, flags={"max-txn-ops": str(rng.randrange(100, 105))})


def _tune_api(rng: Random, draft: Draft) -> Draft:
    return replace(draft, api_flags={"etcd-compaction-interval": f"{rng.randrange(1, 9)}m"})


def _reconnect(rng: Random, draft: Draft) -> Draft:
    return replace(draft, connect=rng.choice(("all", "own", "balancer")))


def _api_servers(rng: Random, draft: Draft) -> Draft:
    return _with_api_servers(rng, draft)


def _move_port(rng: Random, draft: Draft) -> Draft:
    port = rng.choice(("peer", "client"))
    number = {"peer": 2390, "client": 2389}[port]
    return replace(draft, ports={**draft.ports, (rng.choice(draft.members)[1], port): number})


EDITS: tuple[tuple[int, Callable[[Random, Draft], Draft]], ...] = (
    (6, lambda rng, draft: draft),
    (4, _grow),
    (4, _shrink),
    (6, _exchange),
    (1, _rename),
    (3, _tune),
    (2, _tune_api),
    (2, _reconnect),
    (3, _api_servers),
    (1, _move_port),
    (1, lambda rng, draft: replace(draft, outage=not draft.outage)),
    (1, lambda rng, draft: replace(draft, renew_before=rng.choice(("1d", "90d")))),
)

RARE_EDITS: tuple[Callable[[Random, Draft], Draft], ...] = (
    lambda rng, draft: replace(draft, tls=not draft.tls),
    lambda rng, draft: replace(draft, version=rng.choice(VERSIONS)),
    lambda rng, draft: replace(draft, cluster="other"),
    lambda rng, draft: replace(draft, ca="ca-2"),
    lambda rng, draft: replace(draft, data_dir="/srv/etcd"),
)


def edit(rng: Random, draft: Draft) -> Draft:
    """Change a spec as people do; API servers that lost their own member get another."""
    changes = rng.choices(
        [change for _, change in EDITS], [weight for weight, _ in EDITS], k=rng.choice((1, 1, 2))
    )
    if rng.random() < 0.03:
        changes.append(rng.choice(RARE_EDITS))
    for change in changes:
        draft = change(rng, draft)
    names = dict(draft.members)
    servers = tuple(
        (name, host, own if own in names else rng.choice(list(names)))
        for name, host, own in draft.api_servers
    )
    return replace(draft, api_servers=servers)


ROTS = 0.04
"""Of the cases, how many have a CORRUPT alarm at their end."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A case: a spec, and the state that was seen. `story` says how it came about; `origin` is the spec before."""

    seed: int
    draft: Draft
    target: Target
    state: State
    story: tuple[str, ...]
    world: World
    hidden: tuple[str, ...] = ()
    """The hosts and facts that could not be seen."""


def draw_pair(seed: int) -> Pair:
    """Tell a story: found, change, break, mend, each cut anywhere; then break it once more, and look."""
    rng = Random(seed)
    draft = draw_draft(rng)
    world = World(State({}, now=NOW))
    world.prepare(draft.target())
    story = [f"{len(draft.members)} members"]
    for chapter in range(rng.choice((0, 1, 1, 2, 3))):
        if chapter:
            draft = edit(rng, draft)
            story.append("edit")
        cut = rng.random() < 0.5
        _work(world, draft.target(), rng.randrange(60) if cut else 10_000, story)
        if rng.random() < 0.3:
            _break(rng, world, draft, story)
    restores = Random(f"restore {seed}")
    if restores.random() < 0.08:
        asked = replace(draft.target(), restore=_request(restores, draft.target(), world.state))
        _work(world, asked, restores.randrange(60), story)
        story.append("restore")
    if rng.random() < 0.6:
        draft = edit(rng, draft)
        story.append("edit")
    world.prepare(draft.target())
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3))):
        _break(rng, world, draft, story)
    rots = Random(f"rot {seed}")
    if rots.random() < ROTS and (what := rot(rots, world)):
        story.append(what)
    target = draft.target()
    if restores.random() < 0.06:
        target = replace(target, restore=_request(restores, target, world.state))
        story.append("asks for a restore")
    hidden: tuple[str, ...] = ()
    if rng.random() < 0.12:
        hidden = (rng.choice(sorted(world.state.hosts)),)
    silent = dict.fromkeys(hidden, "it timed out")
    state = world.look(target, silent=silent, serve_on=rng.random() < 0.2)
    if rng.random() < 0.05 and (ways := list(hide(state))):
        name, state = rng.choice(ways)
        hidden += (name,)
    target = _think_better(restores, target, state, story)
    if hidden:
        story.append(f"without {' and '.join(hidden)}")
    return Pair(seed, draft, target, state, tuple(story), world, hidden)


def _request(rng: Random, target: Target, state: State) -> Restore:
    """Ask for the restore of a snapshot, of another one each time."""
    sha256 = f"{rng.randrange(16**6):06x}" + "0" * 58
    return asked_restore(target, View(target, state).cluster_id, sha256=sha256)


def _think_better(rng: Random, target: Target, state: State, story: list[str]) -> Target:
    """Take a restore back that is under way, or do one that is asked for without those that do not answer."""
    records = (host.record.value for host in state.hosts.values())
    if any(record and record.restore for record in records) and rng.random() < 0.3:
        story.append("takes the restore back")
        return replace(target, restore=None, abandon=True)
    silent = {one.address for one in state.hosts.values() if one.unreachable} - target.member_hosts.keys()
    if target.restore is not None and silent and rng.random() < 0.7:
        story.append(f"has given up {' and '.join(sorted(silent))}")
        return replace(target, restore=replace(target.restore, gone=tuple(sorted(silent))))
    return target


def _work(world: World, target: Target, effects: int, story: list[str]) -> None:
    step = follow(world, target, effects=effects)
    story.append(f"work({effects})" + (f" cut in {step.id}" if step else ""))


def _break(rng: Random, world: World, draft: Draft, story: list[str]) -> None:
    for _ in range(10):
        fault = rng.choices([f for _, f in FAULTS], [weight for weight, _ in FAULTS])[0]
        what = fault(rng, world, draft.target())
        if what:
            story.append(what)
            return


def pairs(first: int, count: int) -> Iterator[Pair]:
    """Yield the cases of so many seeds in a row."""
    return (draw_pair(seed) for seed in range(first, first + count))


def hide(state: State) -> Iterator[tuple[str, State]]:
    """Yield the state without each of its facts, one at a time, with the fact's name."""

    def gone(name: str) -> Fact[Any]:
        return unknown(name, "it could not be read")

    if state.membership.value is not None:
        yield "members", replace(state, membership=gone("members"), leader=None)
    for place in state.backups:
        yield f"backup/{place}", replace(state, backups={**state.backups, place: gone(f"backup/{place}")})
    for host in state.hosts.values():
        if host.unreachable:
            continue
        at = f"host/{host.address}"
        parts: dict[str, Host] = {
            f"{at}/{part}": replace(host, **{part: gone(f"{at}/{part}")})  # type: ignore[arg-type]
            for part in ("data", "trust", "record")
        }
        units: dict[str, Unit] = {ETCD: host.etcd} | {
            f"apiserver/{name}": unit for name, unit in host.api_servers.items()
        }
        for unit_name, unit in units.items():
            for part in ("settings", "process"):
                name = f"{at}/{unit_name}/{part}"
                parts[name] = host.with_unit(unit_name, replace(unit, **{part: gone(name)}))  # type: ignore[arg-type]
        for leaf in host.leafs:
            name = f"{at}/certificate/{leaf}"
            parts[name] = replace(host, leafs={**host.leafs, leaf: gone(name)})
        for name, part_gone in parts.items():
            yield name, state.with_host(part_gone)
