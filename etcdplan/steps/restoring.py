"""The steps of a restore."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from etcdplan.model.effects import Effect, ForgetRecord, Hold, SetDataAside, WriteRecord, WriteSettings
from etcdplan.model.restore import Restore
from etcdplan.model.restore_effects import (
    AdoptStaged,
    DiscardStaged,
    RestartComponents,
    StageData,
    VerifyRestored,
    restored_data,
)
from etcdplan.model.state import ETCD, PLACES, Data, Record, Settings, State, api_server_unit
from etcdplan.steps.base import Step


@dataclass(frozen=True, slots=True)
class BeginRestore(Step):
    """Every host knows of the restore, so that any of them can tell how it goes on."""

    kind = "begin-restore"

    cluster: str
    restore: Restore
    hosts: tuple[str, ...]

    @property
    def subject(self) -> str:
        """The cluster."""
        return "cluster"

    def params(self) -> Mapping[str, Any]:
        """The restore, and who must know of it."""
        asked = asdict(replace(self.restore, verified=False))
        del asked["abandoned"]
        return {"restore": asked, "hosts": self.hosts}

    def effects(self, state: State) -> tuple[Effect, ...]:
        """Write it where it is not known, or not that some hosts are gone."""
        listed = state.membership.value or state.last_seen
        left: list[Effect] = []
        for address in self.hosts:
            if address in self.restore.gone and state.host(address).unreachable:
                continue
            record = state.host(address).record.get()
            if record is None:
                members = listed.members if listed else {}
                others = (host.record.value for host in state.hosts.values())
                servers = dict.fromkeys(one for other in others if other for one in other.servers)
                record = Record(self.cluster, self.restore.replaces, members=members, servers=tuple(servers))
            known = record.restore
            same = known is not None and self.restore.same(known) and not known.abandoned
            if not same or (known and set(self.restore.gone) - set(known.gone)):
                left.append(WriteRecord(address, replace(record, restore=self.restore)))
        return tuple(left)

    def summary(self) -> str:
        """Name the backup."""
        return f"note on every host that {self.restore.snapshot} is being restored"


@dataclass(frozen=True, slots=True)
class StageRestored(Step):
    """A member's data lie restored on its host, beside what is there.

    They go where the unit there has its data. So where there is no unit or no data yet, it gets its `settings` first.
    """

    kind = "stage-data"
    deadline = 3600

    name: str
    host: str
    peer_url: str
    restore: Restore
    settings: Settings

    @property
    def subject(self) -> str:
        """The member."""
        return f"member/{self.name}"

    def params(self) -> Mapping[str, Any]:
        """Of which snapshot, as which member."""
        return {
            "host": self.host,
            "peerUrl": self.peer_url,
            "sha256": self.restore.sha256,
            "token": self.restore.token,
        }

    def effects(self, state: State) -> tuple[Effect, ...]:
        """Stage them unless they are there."""
        host = state.host(self.host)
        unit = host.etcd.settings.get()
        there, free = unit or {}, unit is None or host.data.get() is None
        left: list[Effect] = []
        if free and any(there.get(flag) != self.settings.get(flag) for flag in PLACES):
            left.append(WriteSettings(self.host, ETCD, self.settings))
        elif host.staged.get() == restored_data(self.restore, self.peer_url):
            return ()
        return (*left, StageData(self.host, self.restore, self.peer_url))

    def summary(self) -> str:
        """Name snapshot and host."""
        return f"restore {self.restore.snapshot} as {self.name} beside the data on {self.host}"


@dataclass(frozen=True, slots=True)
class HoldUnit(Step):
    """A unit does not run, and does not start by itself, not even after a reboot."""

    kind = "hold-unit"
    deadline = 180
    destructive = True

    host: str
    unit: str

    @property
    def subject(self) -> str:
        """The unit on its host; an API server by its name."""
        return self.unit if self.unit != ETCD else f"host/{self.host}"

    def params(self) -> Mapping[str, Any]:
        """Where, and which."""
        return {"host": self.host, "unit": self.unit}

    def effects(self, state: State) -> tuple[Effect, ...]:
        """Hold it unless it is held and gone."""
        unit = state.host(self.host).unit(self.unit)
        return () if unit.held and unit.process.get() is None else (Hold(self.host, self.unit),)

    def summary(self) -> str:
        """Name unit and host."""
        name = self.unit.removeprefix(api_server_unit(""))
        what = "etcd" if self.unit == ETCD else f"API server {name}"
        return f"stop {what} on {self.host}, and keep it from starting"


@dataclass(frozen=True, slots=True)
class SwapData(Step):
    """A member's restored data are in the place of the old ones, which are kept under another name."""

    kind = "swap-data"
    destructive = True

    name: str
    host: str
    data: Data

    @property
    def subject(self) -> str:
        """The member."""
        return f"member/{self.name}"

    def params(self) -> Mapping[str, Any]:
        """Whose data they are."""
        return {
            "host": self.host,
            "cluster": f"{self.data.cluster_id:x}",
            "member": f"{self.data.member_id:x}",
        }

    def effects(self, state: State) -> tuple[Effect, ...]:
        """Set the old ones aside, then put the restored ones there."""
        data = state.host(self.host).data.get()
        if data == self.data:
            return ()
        return (*((SetDataAside(self.host),) if data is not None else ()), AdoptStaged(self.host))

    def summary(self) -> str:
        """Name member and host."""
        return f"put the restored data of {self.name} on {self.host} in the place of the old, which are set aside"


@dataclass(frozen=True, slots=True)
class VerifyMembers(Step):
    """The new members were seen to hold the same keys as each other and as the snapshot."""

    kind = "verify-restore"
    deadline = 600

    cluster: str
    restore: Restore
    host: str

    @property
    def subject(self) -> str:
        """The cluster."""
        return "cluster"

    def params(self) -> Mapping[str, Any]:
        """Of which snapshot, and where it is noted."""
        return {"sha256": self.restore.sha256, "token": self.restore.token, "host": self.host}

    def effects(self, state: State) -> tuple[Effect, ...]:
        """Compare, and note it."""
        record = state.host(self.host).record.get()
        if record is None or (record.restore and record.restore.verified):
            return ()
        verified = replace(self.restore, verified=True)
        return (VerifyRestored(self.host, replace(record, restore=verified)),)

    def summary(self) -> str:
        """Name what is compared."""
        return f"compare the members' keys with each other and with {self.restore.snapshot}"


@dataclass(frozen=True, slots=True)
class AbandonRestore(Step):
    """Every host that knows of the restore knows that it is being taken back."""

    kind = "abandon-restore"

    restore: Restore

    @property
    def subject(self) -> str:
        """The cluster."""
        return "cluster"

    def params(self) -> Mapping[str, Any]:
        """Which restore."""
        return {"sha256": self.restore.sha256, "token": self.restore.token}

    def effects(self, state: State) -> tuple[Effect, ...]:
        """Note it where it is not noted."""
        left: list[Effect] = []
        for address, host in sorted(state.hosts.items()):
            record = None if host.unreachable else host.record.get()
            if record is not None and record.restore is not None and not record.restore.abandoned:
                abandoned = replace(record.restore, abandoned=True)
                left.append(WriteRecord(address, replace(record, restore=abandoned)))
        return tuple(left)

    def summary(self) -> str:
        """Name the backup."""
        return f"note on every host that {self.restore.snapshot} is not restored after all"


@dataclass(frozen=True, slots=True)
class ForgetRestore(Step):
    """A host has nothing of the restore any more."""

    kind = "forget-restore"

    host: str

    @property
    def subject(self) -> str:
        """The host."""
        return f"host/{self.host}"

    def params(self) -> Mapping[str, Any]:
        """Nothing more."""
        return {}

    def effects(self, state: State) -> tuple[Effect, ...]:
        """Remove what is staged; then the note, and with it a record that was only made for it: that has no members."""
        host = state.host(self.host)
        left: list[Effect] = [DiscardStaged(self.host)] if host.staged.get() is not None else []
        record = host.record.get()
        if record is not None and record.restore is not None:
            ours = bool(record.members)
            left.append(
                WriteRecord(self.host, replace(record, restore=None)) if ours else ForgetRecord(self.host)
            )
        return tuple(left)

    def summary(self) -> str:
        """Name the host."""
        return f"remove what was staged on {self.host}, and the note of the restore"


@dataclass(frozen=True, slots=True)
class RestartUnits(Step):
    """What remembers the cluster as it was before the restore has been started anew.

    Source: the document's chapter on restoring, "restart kube-scheduler, kube-controller-manager and kubelet".
    """

    kind = "restart-units"
    deadline = 600

    host: str
    units: tuple[str, ...]

    @property
    def subject(self) -> str:
        """The host."""
        return f"host/{self.host}"

    def params(self) -> Mapping[str, Any]:
        """The units."""
        return {"units": self.units}

    def effects(self, state: State) -> tuple[Effect, ...]:
        """Restart them while the host's record says so."""
        record = state.host(self.host).record.get()
        if record is None or not record.restart:
            return ()
        return (RestartComponents(self.host, self.units, replace(record, restart=())),)

    def summary(self) -> str:
        """Name units and host."""
        names = ", ".join(unit.removesuffix(".service") for unit in self.units)
        return f"restart what runs on {self.host} of {names}"
