"""The etcd on a host is out of service for good."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from etcdplan.model.effects import Effect, ForgetRecord, Hold, SetDataAside
from etcdplan.model.state import ETCD, State, host_of
from etcdplan.steps.base import Step, hand_over


@dataclass(frozen=True, slots=True)
class RetireEtcd(Step):
    """The etcd on a host is stopped and kept from starting, and its data is renamed, never deleted.

    With `forget`, the host also loses its record: it is no part of the cluster any more.
    """

    kind = "retire-etcd"
    destructive = True

    name: str
    host: str
    forget: bool

    @property
    def subject(self) -> str:
        """The host."""
        return f"host/{self.host}"

    def params(self) -> Mapping[str, Any]:
        """Whether the host leaves the cluster altogether."""
        return {"forget": self.forget}

    def effects(self, state: State) -> tuple[Effect, ...]:
        """Hold, a leader having handed over; then rename, then forget."""
        host = state.host(self.host)
        left: list[Effect] = []
        if host.etcd.process.get() is not None or not host.etcd.held:
            if state.leader is not None and host_of(state.leader) == self.host:
                left += hand_over(state, state.leader)
            left.append(Hold(self.host, ETCD))
        if host.data.get() is not None:
            left.append(SetDataAside(self.host))
        if self.forget and host.record.get() is not None:
            left.append(ForgetRecord(self.host))
        return tuple(left)

    def summary(self) -> str:
        """Name host and member."""
        return f"take etcd of {self.name} on {self.host} out of service, its data set aside"
