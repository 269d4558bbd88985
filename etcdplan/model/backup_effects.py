"""What changes around the cluster: there is one more backup, or a host that takes them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from etcdplan.model.backup_job import BACKUP_LEAF, BackupJob, sha256_of
from etcdplan.model.backups import Backup, Store
from etcdplan.model.effects import Effect, HostEffect, ImpossibleEffect
from etcdplan.model.facts import ABSENT, known
from etcdplan.model.state import Host, State


@dataclass(frozen=True, slots=True)
class TakeBackup(Effect):
    """Have a member's snapshot at the destinations, as the spec's policy says; `verified` is how far it is proven."""

    cluster_id: int
    destinations: tuple[str, ...]
    verified: str

    def apply(self, state: State) -> State:
        """Every destination has it; a destination that does not take it is told of, and one that does is enough."""
        membership = state.membership.get()
        if membership is None or not any(voter.serving for voter in membership.voters()):
            raise ImpossibleEffect("no voter serves that could give a snapshot")
        taken = Backup("", self.cluster_id, state.now, 0, 0, self.verified)
        stores = dict(state.backups)
        for place in self.destinations:
            fact = stores.get(place)
            had = (fact.value if fact else None) or Store()
            stores[place] = known(Store((taken, *had.backups), (taken.time, *had.times)))
        return replace(state, backups=stores)


@dataclass(frozen=True, slots=True)
class InstallEtcdplan(HostEffect):
    """Put etcdplan itself onto a host, with all that it imports, beside what is there; `program` is its directory."""

    only_files = True

    program: str
    extras: tuple[str, ...]

    def on(self, state: State, host: Host) -> Host:
        """Only the files come."""
        return replace(host, job=known(replace(host.job.get() or BackupJob(), program=self.program)))


@dataclass(frozen=True, slots=True)
class WriteBackupJob(HostEffect):
    """Write a host's job (texts by path), have the host make its keys where it has none, and let its timer wait."""

    only_files = True

    program: str
    files: Mapping[str, str]
    directories: tuple[str, ...]

    def on(self, state: State, host: Host) -> Host:
        """What was there of another job is gone."""
        job = host.job.get()
        if job is None or job.program != self.program:
            raise ImpossibleEffect(f"etcdplan is not on {self.host}")
        files = {path: sha256_of(text) for path, text in self.files.items()}
        return replace(host, job=known(replace(job, files=files, waits=True)))


@dataclass(frozen=True, slots=True)
class RemoveBackupJob(HostEffect):
    """Take a host's timer away, and all that came with it but the keys that were made there."""

    only_files = True

    def on(self, state: State, host: Host) -> Host:
        """The host takes no backups any more."""
        leafs = {name: leaf for name, leaf in host.leafs.items() if name != BACKUP_LEAF}
        return replace(host, job=ABSENT, leafs=leafs)
