"""What no effect of a restore may do. While one is to be done these count in the place of the others.

Sources: the document's chapter on restoring (every API server is stopped first), `domain.md` 13.4 (an old member beside
restored ones), `invariants.md` 4.
"""

from collections.abc import Iterator

from etcdplan.diff.target import Target
from etcdplan.diff.unlisted import unlisted
from etcdplan.diff.view import View
from etcdplan.model.effects import (
    ClearCorrupt,
    ClusterEffect,
    Effect,
    ForgetRecord,
    Hold,
    MoveLeader,
    SetDataAside,
    Start,
    Stop,
    WriteRecord,
)
from etcdplan.model.restore_effects import (
    AdoptStaged,
    DiscardStaged,
    StageData,
    VerifyRestored,
    restored_data,
    stopped_for,
)
from etcdplan.model.state import ETCD, PLACES, Data, Host, State


def violations(target: Target, effect: Effect, before: State) -> Iterator[str]:
    """Yield what an effect breaks in a restore that is to be done, in plain words; nothing for a good one."""
    rules = _Rules(target, before)
    if View(target, before).restoring.abandoned:
        yield from rules.taken_back(effect)
        return
    if isinstance(effect, StageData | Hold | Stop | SetDataAside | AdoptStaged):
        yield from rules.known_everywhere()
    match effect:
        case Hold(unit=unit) | Stop(unit=unit) if unit == ETCD:
            yield from rules.staged_everywhere()
            yield from rules.api_servers_down()
            if isinstance(effect, Stop) and before.host(effect.host).data.value != rules.restored(
                effect.host
            ):
                yield "it stops an etcd of the old cluster that would start again by itself"
        case SetDataAside(host):
            yield from rules.staged_everywhere()
            yield from rules.api_servers_down()
            yield from rules.members_down()
            if before.host(host).data.value == rules.restored(host):
                yield f"it sets the restored data on {host} aside"
        case StageData(host) | AdoptStaged(host) if not rules.starts_there(host):
            yield f"etcd on {host} would be started on other directories than the restored data are in"
        case AdoptStaged(host):
            yield from rules.members_down()
            if before.host(host).staged.value != rules.restored(host):
                yield f"what it adopts on {host} is not what is being restored"
        case Start(host, unit) if unit == ETCD:
            yield from rules.restored_everywhere(host)
            yield from rules.api_servers_down()
            yield from rules.shut_in(host)
        case Start():
            yield "an API server would start before the restore is done"
        case VerifyRestored():
            yield from rules.api_servers_down()
        case ClearCorrupt() if not View(target, before).restoring.verified:
            yield "it takes an alarm back before the members were compared"
        case DiscardStaged(host):
            yield f"it throws away what is staged on {host} for a restore that is to be done"
        case ClusterEffect() if not isinstance(effect, MoveLeader):
            yield "it changes the members during a restore"
        case _:
            pass


class _Rules:
    def __init__(self, target: Target, before: State) -> None:
        self._target = target
        self._before = before
        self._view = View(target, before)
        self._restore = self._view.restoring

    def restored(self, host: str) -> Data | None:
        """Return the data that a member's host is to have; None for other hosts."""
        wanted = self._target.member_hosts.get(host)
        listed = wanted is not None and wanted.peer_url in dict(self._restore.members)
        return restored_data(self._restore, wanted.peer_url) if wanted and listed else None

    def starts_there(self, host: str) -> bool:
        """Whether the unit has its data where the spec wants them: restored ones go where the unit has them."""
        there = self._before.host(host).etcd.settings.value or {}
        wanted = self._target.member_hosts[host].settings
        return all(there.get(flag) == wanted.get(flag) for flag in PLACES)

    def _members(self) -> Iterator[Host]:
        return (self._before.host(address) for address in self._target.member_hosts)

    def taken_back(self, effect: Effect) -> Iterator[str]:
        """Only notes and what nobody uses are touched, and only while no etcd was stopped."""
        if not isinstance(effect, WriteRecord | ForgetRecord | DiscardStaged):
            yield "it changes more than the notes of a restore that is taken back"
        if isinstance(effect, DiscardStaged):
            for address, host in self._before.hosts.items():
                record = host.record.value
                if record is not None and record.restore is not None and not record.restore.abandoned:
                    yield f"{address} does not know that the restore is taken back"
        for address, host in self._before.hosts.items():
            if stopped_for(self._restore, host, host.data.value):
                yield f"etcd on {address} was stopped for the restore already"

    def known_everywhere(self) -> Iterator[str]:
        """A run that dies must be finished by whoever comes next."""
        for address in self._target.hosts():
            if self._view.absent_api_host(address):
                continue
            record = self._before.host(address).record.value
            known = record is not None and (
                record.cluster_id == self._restore.ids[0] or self._restore.same(record.restore)
            )
            if not known:
                yield f"{address} does not know of the restore yet"

    def staged_everywhere(self) -> Iterator[str]:
        """Nothing is stopped before all that takes long, and may fail, is done.

        Once the members were compared, one that loses its data is replaced later.
        """
        for host in () if self._restore.verified else self._members():
            restored = self.restored(host.address)
            if restored not in (host.staged.value, host.data.value):
                yield f"nothing is staged on {host.address} yet"

    def restored_everywhere(self, address: str) -> Iterator[str]:
        """A new member never meets an old one, and nobody starts without its data."""
        for host in self._members():
            if self._restore.verified and host.address != address:
                continue
            if host.data.value != self.restored(host.address):
                yield f"the data on {host.address} are not the restored ones"

    def api_servers_down(self) -> Iterator[str]:
        """An API server that runs on writes what it remembers of the old cluster."""
        for server in self._view.api_servers:
            unit = self._before.host(server.host).unit(server.unit)
            if unit.process.value is not None or unit.process.is_unknown:
                yield f"API server {server.name} still runs"
            elif unit.settings.value is not None and not unit.held:
                yield f"API server {server.name} could start by itself"
        for address, name, _ in unlisted(self._target, self._before):
            yield f"API server {name} on {address}, which the spec does not name, still runs"

    def members_down(self) -> Iterator[str]:
        """What runs on its data keeps them open wherever they are moved."""
        for host in self._members():
            if host.etcd.process.value is not None or host.etcd.process.is_unknown:
                yield f"etcd on {host.address} still runs"

    def shut_in(self, address: str) -> Iterator[str]:
        """No client sees what was not compared."""
        wanted = self._target.member_hosts.get(address)
        settings = self._before.host(address).etcd.settings.value or {}
        for flag, value in wanted.shut_in.items() if wanted and not self._restore.verified else ():
            if settings.get(flag) != value:
                yield f"clients would reach etcd on {address} before it was compared with the others"
                return
