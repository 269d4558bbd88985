"""etcd runs on a host with certain settings."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from etcdplan.model.effects import Effect, Start, Stop, WriteSettings
from etcdplan.model.state import ETCD, Settings, State, steady
from etcdplan.steps.base import Step, hand_over


@dataclass(frozen=True, slots=True)
class RunEtcd(Step):
    """The etcd of a member runs with these settings and serves when its cluster can.

    A leader that must restart hands over first. The `initial-*` settings matter only to an empty data directory and
    are no part of the step's identity.
    """

    kind = "run-etcd"
    deadline = 120

    name: str
    host: str
    peer_url: str
    settings: Settings

    @property
    def subject(self) -> str:
        """The member."""
        return f"member/{self.name}"

    def params(self) -> Mapping[str, Any]:
        """The settings that a member with data reads."""
        return {"host": self.host, "peerUrl": self.peer_url, "settings": dict(steady(self.settings))}

    def effects(self, state: State) -> tuple[Effect, ...]:
        """Write what differs, stop what runs otherwise or hangs, start what does not run."""
        host = state.host(self.host)
        on_disk, process = host.etcd.settings.get(), host.etcd.process.get()
        left: list[Effect] = []
        read = dict if host.data.get() is None else steady
        if on_disk is None or read(on_disk) != read(self.settings):
            left.append(WriteSettings(self.host, ETCD, self.settings))
        if process is not None and (process.hung or steady(process.settings) != steady(self.settings)):
            left += [*hand_over(state, self.peer_url), Stop(self.host, ETCD)]
            process = None
        if process is None:
            left.append(Start(self.host, ETCD))
        return tuple(left)

    def restarts(self, state: State) -> tuple[str, ...]:
        """The etcd, when it runs now."""
        stops = any(isinstance(effect, Stop) for effect in self.effects(state))
        return (f"{self.host}/{ETCD}",) if stops else ()

    def summary(self) -> str:
        """Name member and host."""
        return f"run etcd of {self.name} on {self.host}"
