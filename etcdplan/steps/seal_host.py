"""A host knows that it belongs to the cluster."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from etcdplan.model.effects import Effect, WriteRecord, WriteSettings
from etcdplan.model.state import ETCD, Record, State, host_of
from etcdplan.steps.base import Step


@dataclass(frozen=True, slots=True)
class SealHost(Step):
    """The host remembers its cluster, and an etcd that starts empty there cannot found a second one.

    This ends a bootstrap: `initial-cluster-state` becomes `existing`, which only an empty member reads.
    """

    kind = "seal-host"

    cluster: str
    host: str
    restart: tuple[str, ...] = ()
    """Units that must be restarted when this ends a restore."""
    gone: tuple[str, ...] = ()
    """Hosts that the restore was done without."""
    began: int = 0
    """The revision at which the restored cluster began."""

    @property
    def subject(self) -> str:
        """The host."""
        return f"host/{self.host}"

    def params(self) -> Mapping[str, Any]:
        """The cluster's name, and what a restore leaves to be done."""
        return {
            "cluster": self.cluster,
            **({"restart": self.restart} if self.restart else {}),
            **({"gone": self.gone} if self.gone else {}),
            **({"began": self.began} if self.began else {}),
        }

    def effects(self, state: State) -> tuple[Effect, ...]:
        """Flip the setting, then write the record."""
        membership = state.membership.get()
        host = state.host(self.host)
        left: list[Effect] = []
        settings = host.etcd.settings.get()
        if settings is not None and settings.get("initial-cluster-state") == "new":
            left.append(WriteSettings(self.host, ETCD, {**settings, "initial-cluster-state": "existing"}))
        if membership is not None:
            before = host.record.get() or _others(state, membership.cluster_id)
            record = Record(
                self.cluster,
                membership.cluster_id,
                members=membership.members,
                restart=self.restart,
                gone=self.gone,
                began=self.began,
                servers=before.servers if before else (),
            )
            if before is not None and before.cluster_id != membership.cluster_id:
                # A restore ends here; who was a member before is still to be taken out of service.
                members = (*membership.members, *before.members)
                hosts = dict.fromkeys((*(host_of(url) for url in members), *before.hosts))
                former = (*before.former, before.cluster_id)
                record = replace(record, former=former, hosts=tuple(hosts))
            elif before is not None:
                record = replace(
                    record,
                    former=before.former,
                    restart=before.restart,
                    gone=before.gone,
                    began=before.began,
                )
            if host.record.get() != record:
                left.append(WriteRecord(self.host, record))
        return tuple(left)

    def summary(self) -> str:
        """Name the host."""
        return f"record on {self.host} that it belongs to cluster {self.cluster}"


def _others(state: State, cluster_id: int) -> Record | None:
    """Return what another host remembers of the cluster, for one that comes new; nothing on it is to be restarted."""
    records = (host.record.value for _, host in sorted(state.hosts.items()))
    ours = (record for record in records if record is not None and record.cluster_id == cluster_id)
    found = next(ours, None)
    return found and replace(found, restart=())
