"""A host knows that it belongs to the cluster."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from etcdplan.model.effects import Effect, WriteRecord, WriteSettings
from etcdplan.model.state import ETCD, Record, State
from etcdplan.steps.base import Step


@dataclass(frozen=True, slots=True)
class SealHost(Step):
    """The host remembers its cluster, and an etcd that starts empty there cannot found a second one.

    This ends a bootstrap: `initial-cluster-state` becomes `existing`, which only an empty member reads.
    """

    kind = "seal-host"

    cluster: str
    host: str

    @property
    def subject(self) -> str:
        """The host."""
        return f"host/{self.host}"

    def params(self) -> Mapping[str, Any]:
        """The cluster's name."""
        return {"cluster": self.cluster}

    def effects(self, state: State) -> tuple[Effect, ...]:
        """Flip the setting, then write the record."""
        membership = state.membership.get()
        host = state.host(self.host)
        left: list[Effect] = []
        settings = host.etcd.settings.get()
        if settings is not None and settings.get("initial-cluster-state") == "new":
            left.append(WriteSettings(self.host, ETCD, {**settings, "initial-cluster-state": "existing"}))
        if membership is not None:
            before = host.record.get()
            former = before.former if before is not None else ()
            if before is not None and before.cluster_id != membership.cluster_id:
                former = (*former, before.cluster_id)  # A restore ends here.
            record = Record(self.cluster, membership.cluster_id, members=membership.members, former=former)
            if before != record:
                left.append(WriteRecord(self.host, record))
        return tuple(left)

    def summary(self) -> str:
        """Name the host."""
        return f"record on {self.host} that it belongs to cluster {self.cluster}"
