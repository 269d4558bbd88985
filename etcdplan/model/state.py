"""One immutable model of a cluster: filled by `observe`, moved forward by effects.

Everything is indexed by name: hosts by address, members by peer URL, API servers by instance name. Member IDs, leaders
and times are facts of the state and never part of a step's identity.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

from etcdplan.model.backup_job import BackupJob
from etcdplan.model.backups import Stores
from etcdplan.model.corruption import Corruption
from etcdplan.model.facts import ABSENT, Fact, UnknownFact
from etcdplan.model.machine import UNMEASURED, Machine
from etcdplan.model.restore import Restore

Settings = Mapping[str, str]
"""Effective settings of a process: flag name without dashes to value. Never changed in place."""

PROGRAM = "program"
"""The one setting that is no flag: the file that is executed. Only where the spec says where it comes from."""

PLACES = ("data-dir", "wal-dir")
"""The settings that say where an etcd's data are."""

ETCD = "etcd"
"""The unit name of a host's etcd; API servers have `apiserver/NAME`."""


def api_server_unit(name: str) -> str:
    """Return the unit name of an API server."""
    return f"apiserver/{name}"


def steady(settings: Settings) -> Settings:
    """Return the settings that a process with data reads.

    `initial-*` is read only by an etcd that starts empty (etcd: `--initial-cluster` and the like are ignored once a
    WAL exists), so a difference there never asks for a restart.
    """
    return {flag: value for flag, value in settings.items() if not flag.startswith("initial-")}


@dataclass(frozen=True, slots=True)
class Process:
    """A running process.

    `settings` are those that it was started with, `started` is unix seconds, `answering` says that an etcd answered
    its Status call or an API server its `/readyz`; `hung` that it is old enough to answer, the cluster has quorum, and
    it does not.
    """

    settings: Settings
    answering: bool
    hung: bool = False
    version: str = ""
    started: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Unit:
    """An etcd or an API server on a host: what its files say, and what runs.

    `held` means that it is kept from starting; `failing` that its supervisor gave up after repeated failures, and
    that neither its settings nor the host's certificates have changed since; `drained` that the clients of an API
    server were routed away from it; `missing` that the host has no such API server.

    `armed`: the host puts the former settings back unless a run is there that looks after the new ones. `rolled_back`
    says when and why it has done so, until these settings are changed again. Neither decides what is planned.
    """

    settings: Fact[Settings] = ABSENT
    process: Fact[Process] = ABSENT
    held: bool = False
    failing: bool = False
    drained: bool = False
    missing: bool = False
    armed: bool = field(default=False, compare=False)
    rolled_back: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Data:
    """What a data directory holds: the identity that is written in its WAL, or `foreign`, a description.

    Source: etcd `server/storage/wal/wal.go`, every segment starts with a metadata record.
    """

    cluster_id: int
    member_id: int
    foreign: str = ""
    damaged: bool = field(default=False, compare=False)
    """What is foreign was an etcd's data once: its log cannot be read any more."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """A certificate as it lies on a host. `issuer` is the CA's SPKI fingerprint when that CA signed it, else empty."""

    issuer: str
    sans: tuple[str, ...]
    usages: tuple[str, ...]
    key_matches: bool
    not_after: int = field(compare=False)
    not_before: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Record:
    """A host's memory of the cluster that it is part of, for the time when no member answers.

    `hosts` are those of the members, former ones included until everything has converged without them. `restore` is
    under way; `former` are the IDs of the clusters that were replaced by restores. `restart` are the host's units that
    still remember the cluster as it was before a restore; `gone` the hosts that a restore was done without, and that
    did not answer since; `began` the revision at which a restored cluster began. `servers` are the hosts of API
    servers: of the spec that was applied last, and former ones as long as an API server is seen to run there.
    """

    cluster: str
    cluster_id: int
    hosts: tuple[str, ...] = field(default=(), compare=False)
    members: Mapping[str, "Member"] = field(default_factory=dict, compare=False)
    restore: Restore | None = None
    former: tuple[int, ...] = field(default=(), compare=False)
    restart: tuple[str, ...] = ()
    gone: tuple[str, ...] = field(default=(), compare=False)
    began: int = field(default=0, compare=False)
    servers: tuple[str, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class Host:
    """One machine."""

    address: str
    etcd: Unit = Unit()
    data: Fact[Data] = ABSENT
    leafs: Mapping[str, Fact[Leaf]] = field(default_factory=dict)
    trust: Fact[tuple[str, ...]] = ABSENT
    record: Fact[Record] = ABSENT
    api_servers: Mapping[str, Unit] = field(default_factory=dict)
    program: Fact[str] = ABSENT
    """The path of the program from the spec's archive, when it lies whole on the host."""
    full: bool = False
    """No space is left where etcd's data is, or too little for its log."""
    staged: Fact[Data] = ABSENT
    """What lies restored beside the data, to be put in its place."""
    strays: Mapping[str, Settings] = field(default_factory=dict)
    """API servers that run in no unit that is known, by what runs them (`static-pod`): their flags about etcd, if these
    can be read. Nothing here can stop them."""
    job: Fact[BackupJob] = ABSENT
    """What takes backups there."""
    unreachable: str = ""
    """Why the host does not answer; empty when it does. Then every fact above is unknown."""
    machine: Machine = field(default=UNMEASURED, compare=False)
    """What the host offers; findings are made of it, and no decisions."""

    def leaf(self, name: str) -> Fact[Leaf]:
        """Return what is known of one certificate of this host."""
        if self.unreachable:
            return Fact(None, why=self.unreachable, name=f"host/{self.address}")
        return self.leafs.get(name, ABSENT)

    def unit(self, name: str) -> Unit:
        """Return a unit by name; an API server that the host does not have is an empty unit."""
        if name == ETCD:
            return self.etcd
        if self.unreachable:
            gone: Fact[None] = Fact(None, why=self.unreachable, name=f"host/{self.address}")
            return Unit(gone, gone)  # type: ignore[arg-type]
        return self.api_servers.get(name.removeprefix("apiserver/"), Unit())

    def with_unit(self, name: str, unit: Unit) -> "Host":
        """Return the host with one unit replaced."""
        if name == ETCD:
            return replace(self, etcd=unit)
        return replace(self, api_servers={**self.api_servers, name.removeprefix("apiserver/"): unit})


@dataclass(frozen=True, slots=True)
class Member:
    """One entry of the member list. `serving`: it was proven to answer (a voter: a linearizable read)."""

    id: int
    name: str
    peer_url: str
    client_urls: tuple[str, ...]
    learner: bool
    serving: bool
    version: str = ""

    @property
    def started(self) -> bool:
        """Whether it ever ran: a member has no name before (etcd `membership/member.go`, IsStarted)."""
        return bool(self.name)


@dataclass(frozen=True, slots=True)
class Membership:
    """The member list that all answering members agree on."""

    cluster_id: int
    members: Mapping[str, Member]

    def voters(self) -> Iterator[Member]:
        """Yield the members that count for quorum."""
        return (member for member in self.members.values() if not member.learner)

    def by_id(self, member_id: int) -> Member | None:
        """Return the member with that ID."""
        return next((member for member in self.members.values() if member.id == member_id), None)


@dataclass(frozen=True, slots=True)
class State:
    """The cluster. `membership` is absent only when nobody answers and no host remembers a cluster."""

    hosts: Mapping[str, Host]
    membership: Fact[Membership] = ABSENT
    last_seen: Membership | None = field(default=None, compare=False)
    """The newest member list that a host's record remembers; it predicts what will answer, and decides nothing."""
    clusters: tuple[int, ...] = ()
    """The IDs of all clusters that answer; more than one is trouble."""
    leader: str | None = field(default=None, compare=False)
    now: int = field(default=0, compare=False)
    backups: Stores = field(default_factory=dict, compare=False)
    """What the destinations of the spec's backups have; it goes stale by itself and is renewed."""

    corruption: Corruption | None = None
    """What is known while a CORRUPT alarm stands."""

    def host(self, address: str) -> Host:
        """Return a host; raise `UnknownFact` for one that was not looked at."""
        host = self.hosts.get(address)
        if host is None:
            raise UnknownFact(f"host/{address}", "it was not observed")
        return host

    def with_host(self, host: Host) -> "State":
        """Return the state with one host replaced."""
        return replace(self, hosts={**self.hosts, host.address: host})

    def with_members(self, membership: Membership, members: Mapping[str, Member]) -> "State":
        """Return the state with the member list replaced."""
        return replace(self, membership=Fact(replace(membership, members=members)))


@lru_cache(maxsize=1024)
def host_of(url: str) -> str:
    """Return the host part of a URL, an IPv6 address without its brackets."""
    return url.split("://", 1)[-1].rsplit(":", 1)[0].strip("[]")
