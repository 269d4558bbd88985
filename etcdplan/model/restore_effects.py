"""What a restore does to a host that nothing else does."""

from dataclasses import dataclass, replace

from etcdplan.model.effects import HostEffect, ImpossibleEffect
from etcdplan.model.facts import ABSENT, known
from etcdplan.model.restore import Restore
from etcdplan.model.state import Data, Host, Record, State, host_of


def restored_data(restore: Restore, peer_url: str) -> Data:
    """Return the identity that the restored data of the member with this peer URL has."""
    cluster, ids = restore.ids
    return Data(cluster, ids[peer_url])


def stopped_for(restore: Restore, host: Host, data: Data | None) -> bool:
    """Whether a host's etcd was stopped for a restore, the data there being these.

    A restore stops former members, too; one that was taken out of service before has no data any more.
    """
    if data is not None and data.cluster_id == restore.ids[0]:
        return True
    member = any(host_of(url) == host.address for url, _ in restore.members)
    return host.etcd.held and (member or (data is not None and data.cluster_id == restore.replaces))


@dataclass(frozen=True, slots=True)
class StageData(HostEffect):
    """Put a member's restored data beside what is there; what was staged before is replaced."""

    only_files = True

    restore: Restore
    peer_url: str

    def on(self, state: State, host: Host) -> Host:
        """The data lies there, and nobody reads it yet."""
        return replace(host, staged=known(restored_data(self.restore, self.peer_url)))


@dataclass(frozen=True, slots=True)
class AdoptStaged(HostEffect):
    """Rename what is staged to where etcd looks for its data, which must be free."""

    def apply(self, state: State) -> State:
        """An alarm was that of the cluster that is replaced; whether the snapshot brings it along is seen later."""
        return replace(HostEffect.apply(self, state), corruption=None)

    def on(self, state: State, host: Host) -> Host:
        """The staged data are the member's."""
        staged = host.staged.get()
        if staged is None or host.data.get() is not None or host.etcd.process.get() is not None:
            raise ImpossibleEffect(f"on {self.host} there is nothing staged, or data in its way")
        return replace(host, data=known(staged), staged=ABSENT)


@dataclass(frozen=True, slots=True)
class VerifyRestored(HostEffect):
    """Compare what the new members hold, and note on the host that it is the same."""

    only_files = True

    record: Record

    def on(self, state: State, host: Host) -> Host:
        """Only the note changes."""
        return replace(host, record=known(self.record))


@dataclass(frozen=True, slots=True)
class DiscardStaged(HostEffect):
    """Remove what is staged, which nobody has used."""

    only_files = True

    def on(self, state: State, host: Host) -> Host:
        """Nothing is staged."""
        return replace(host, staged=ABSENT)


@dataclass(frozen=True, slots=True)
class RestartComponents(HostEffect):
    """Restart those of these units that run, and note on the host that it was done."""

    only_files = True

    units: tuple[str, ...]
    record: Record

    def on(self, state: State, host: Host) -> Host:
        """Only the note changes: what these units remember no look at them tells."""
        return replace(host, record=known(self.record))
