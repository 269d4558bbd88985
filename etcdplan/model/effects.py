"""Every single change that etcdplan can make to the world, and what it does to the model.

An effect is data: the simulator applies it to a State, the executor performs it through a port. Steps are sequences of
effects, so that what is simulated and what is done cannot drift apart.
"""

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar

from etcdplan.model.facts import ABSENT, known
from etcdplan.model.settle import first_data, lose, silenced
from etcdplan.model.state import (
    ETCD,
    PROGRAM,
    Host,
    Leaf,
    Member,
    Membership,
    Process,
    Record,
    Settings,
    State,
)


class ImpossibleEffect(Exception):
    """The effect cannot happen in this state; a plan that contains it is wrong."""


class Effect(ABC):
    """One change of the world, small enough that it happens wholly or not at all."""

    @abstractmethod
    def apply(self, state: State) -> State:
        """Return the state right after the effect, before time has healed anything."""


@dataclass(frozen=True, slots=True)
class HostEffect(Effect):
    """An effect on one host, made through that host's port."""

    only_files: ClassVar[bool] = False
    """Whether no process notices it, so that nothing can be lost by it."""

    host: str

    def apply(self, state: State) -> State:
        """Change the host, then take away what can no longer be."""
        host = state.host(self.host)
        if host.unreachable:
            raise ImpossibleEffect(f"host {self.host} does not answer")
        changed = state.with_host(self.on(state, host))
        return changed if self.only_files else lose(changed)

    @abstractmethod
    def on(self, state: State, host: Host) -> Host:
        """Return the changed host."""


@dataclass(frozen=True, slots=True)
class WriteSettings(HostEffect):
    """Write a unit's settings to its file, in the form that the host uses."""

    only_files = True

    unit: str
    settings: Settings

    def on(self, state: State, host: Host) -> Host:
        """Only the file changes; that the unit kept failing says nothing of the new settings."""
        unit = replace(host.unit(self.unit), settings=known(self.settings), failing=False)
        return host.with_unit(self.unit, unit)


@dataclass(frozen=True, slots=True)
class Start(HostEffect):
    """Let a unit run, with the settings on disk."""

    unit: str

    def on(self, state: State, host: Host) -> Host:
        """An etcd that starts empty must be able to found a cluster or to join one; with data it goes on."""
        unit = host.unit(self.unit)
        settings = unit.settings.get()
        if settings is None or unit.process.get() is not None:
            raise ImpossibleEffect(f"{self.unit} on {self.host} has no settings or runs already")
        running = replace(
            unit,
            process=known(Process(settings, answering=False, started=state.now)),
            held=False,
            failing=False,
        )
        if self.unit == ETCD and settings.get(PROGRAM) not in (None, host.program.get()):
            raise ImpossibleEffect(f"{settings[PROGRAM]} is not on {self.host}")
        if self.unit == ETCD and host.data.get() is None and first_data(state, settings) is None:
            raise ImpossibleEffect(f"an empty etcd on {self.host} has nothing to found or to join")
        return host.with_unit(self.unit, running)


@dataclass(frozen=True, slots=True)
class Stop(HostEffect):
    """Stop a unit and wait until its process is gone."""

    unit: str

    def on(self, state: State, host: Host) -> Host:
        """The process is gone."""
        return host.with_unit(self.unit, replace(host.unit(self.unit), process=ABSENT))


@dataclass(frozen=True, slots=True)
class Hold(HostEffect):
    """Stop a unit and keep it from starting until it is started on purpose."""

    unit: str

    def on(self, state: State, host: Host) -> Host:
        """The process is gone and stays so; that it kept failing can still be seen until it is started again."""
        return host.with_unit(self.unit, replace(host.unit(self.unit), process=ABSENT, held=True))


@dataclass(frozen=True, slots=True)
class RouteClients(HostEffect):
    """Have a hook of the runner route an API server's clients away or back, and note on the host that it did."""

    only_files = True

    unit: str
    hook: str
    away: bool

    def on(self, state: State, host: Host) -> Host:
        """Only the note changes: of its clients no process here knows."""
        return host.with_unit(self.unit, replace(host.unit(self.unit), drained=self.away))


@dataclass(frozen=True, slots=True)
class SetDataAside(HostEffect):
    """Rename etcd's data inside its directory; nothing is deleted."""

    def on(self, state: State, host: Host) -> Host:
        """The data directory is empty for etcd."""
        if host.etcd.process.get() is not None:
            raise ImpossibleEffect(f"etcd on {self.host} still runs on its data")
        return replace(host, data=ABSENT)


@dataclass(frozen=True, slots=True)
class InstallProgram(HostEffect):
    """Put etcd from an archive onto the host, beside what is there; `program` is its path."""

    only_files = True

    version: str
    program: str

    def on(self, state: State, host: Host) -> Host:
        """Only the files come."""
        return replace(host, program=known(self.program))


@dataclass(frozen=True, slots=True)
class InstallTrust(HostEffect):
    """Write the CA bundle, here known by the SPKI fingerprints of its certificates."""

    only_files = True

    spkis: tuple[str, ...]

    def on(self, state: State, host: Host) -> Host:
        """Only the file changes; that etcd kept failing says nothing of the new one."""
        return replace(host, trust=known(self.spkis), etcd=replace(host.etcd, failing=False))


@dataclass(frozen=True, slots=True)
class IssueLeaf(HostEffect):
    """Make a key on the host, sign it, and swap key and certificate in with one rename.

    `lifetime` is in seconds.
    """

    only_files = True

    name: str
    common_name: str
    issuer: str
    sans: tuple[str, ...]
    usages: tuple[str, ...]
    lifetime: int

    def on(self, state: State, host: Host) -> Host:
        """The new pair lies there; etcd reads it at the next handshake, and may not fail with it any more."""
        leaf = Leaf(
            self.issuer, self.sans, self.usages, key_matches=True, not_after=state.now + self.lifetime
        )
        leafs = {**host.leafs, self.name: known(leaf)}
        return replace(host, leafs=leafs, etcd=replace(host.etcd, failing=False))


@dataclass(frozen=True, slots=True)
class WriteRecord(HostEffect):
    """Write the host's memory of its cluster."""

    only_files = True

    record: Record

    def apply(self, state: State) -> State:
        """Where a cluster is remembered, that nobody answers does not mean that there is none."""
        changed = HostEffect.apply(self, state)
        return silenced(changed) if self.record.restore is not None else changed

    def on(self, state: State, host: Host) -> Host:
        """Only the record changes."""
        return replace(host, record=known(self.record))


@dataclass(frozen=True, slots=True)
class ForgetRecord(HostEffect):
    """Take the host's record away: it is no part of the cluster any more."""

    only_files = True

    def on(self, state: State, host: Host) -> Host:
        """Only the record changes."""
        return replace(host, record=ABSENT)


@dataclass(frozen=True, slots=True)
class ClusterEffect(Effect):
    """A mutating call to the cluster about the member with this peer URL."""

    peer_url: str

    def _membership(self, state: State) -> Membership:
        membership = state.membership.get()
        if membership is None:
            raise ImpossibleEffect("there is no cluster to call")
        return membership

    def _member(self, state: State) -> tuple[Membership, Member]:
        membership = self._membership(state)
        member = membership.members.get(self.peer_url)
        if member is None:
            raise ImpossibleEffect(f"{self.peer_url} is no member")
        return membership, member


@dataclass(frozen=True, slots=True)
class AddLearner(ClusterEffect):
    """Add a member as a learner."""

    def apply(self, state: State) -> State:
        """An unstarted learner appears; its ID is a stand-in, the real one is the server's choice."""
        membership = self._membership(state)
        if self.peer_url in membership.members:
            raise ImpossibleEffect(f"{self.peer_url} is a member already")
        taken = "".join(f"{member.id:x}" for member in membership.members.values())
        digest = hashlib.sha1((self.peer_url + taken).encode(), usedforsecurity=False).digest()
        newcomer = Member(int.from_bytes(digest[:8]), "", self.peer_url, (), learner=True, serving=False)
        return state.with_members(membership, {**membership.members, self.peer_url: newcomer})


@dataclass(frozen=True, slots=True)
class Promote(ClusterEffect):
    """Make a learner a voter."""

    def apply(self, state: State) -> State:
        """The learner counts for quorum from now on."""
        membership, member = self._member(state)
        if not member.learner:
            raise ImpossibleEffect(f"{self.peer_url} is a voter already")
        voter = replace(member, learner=False)
        return lose(state.with_members(membership, {**membership.members, self.peer_url: voter}))


@dataclass(frozen=True, slots=True)
class Remove(ClusterEffect):
    """Remove a member; its etcd ends by itself (etcd runtime reconfiguration)."""

    def apply(self, state: State) -> State:
        """The entry is gone, and so is the process that ran as it."""
        membership, member = self._member(state)
        rest = {url: other for url, other in membership.members.items() if url != self.peer_url}
        state = state.with_members(membership, rest)
        for host in state.hosts.values():
            data, process = host.data.value, host.etcd.process.value
            if process is not None and not process.hung and data is not None and data.member_id == member.id:
                state = state.with_host(replace(host, etcd=replace(host.etcd, process=ABSENT)))
        return lose(state)


@dataclass(frozen=True, slots=True)
class MoveLeader(ClusterEffect):
    """Hand the leadership to the voter with this peer URL."""

    def apply(self, state: State) -> State:
        """Only the leader changes."""
        _, member = self._member(state)
        if member.learner or not member.serving:
            raise ImpossibleEffect(f"{self.peer_url} cannot lead")
        return replace(state, leader=self.peer_url)


@dataclass(frozen=True, slots=True)
class ClearCorrupt(Effect):
    """Take back the CORRUPT alarm that was raised for the member with this ID, 0 for nobody in particular."""

    number: int

    def apply(self, state: State) -> State:
        """With the last of them the cluster takes writes again."""
        corruption = state.corruption
        if corruption is None or self.number not in corruption.alarms:
            raise ImpossibleEffect("there is no such alarm")
        left = tuple(number for number in corruption.alarms if number != self.number)
        return replace(state, corruption=replace(corruption, alarms=left) if left else None)


__all__ = [
    "AddLearner",
    "ClearCorrupt",
    "ClusterEffect",
    "Effect",
    "ForgetRecord",
    "Hold",
    "HostEffect",
    "ImpossibleEffect",
    "InstallProgram",
    "InstallTrust",
    "IssueLeaf",
    "MoveLeader",
    "Promote",
    "Remove",
    "RouteClients",
    "SetDataAside",
    "Start",
    "Stop",
    "WriteRecord",
    "WriteSettings",
]
