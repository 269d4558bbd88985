"""The CORRUPT alarm is taken back."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from etcdplan.model.effects import ClearCorrupt, Effect
from etcdplan.model.state import State
from etcdplan.steps.base import Step


@dataclass(frozen=True, slots=True)
class ClearAlarm(Step):
    """No CORRUPT alarm stands, so that etcd takes writes again."""

    kind = "clear-alarm"

    @property
    def subject(self) -> str:
        """The cluster."""
        return "cluster"

    def params(self) -> Mapping[str, Any]:
        """Which alarm; for whom it was raised is the cluster's choice."""
        return {"alarm": "CORRUPT"}

    def effects(self, state: State) -> tuple[Effect, ...]:
        """Take back each of them: etcd does so one by one."""
        return tuple(ClearCorrupt(number) for number in state.corruption.alarms) if state.corruption else ()

    def summary(self) -> str:
        """Say what comes of it."""
        return "take the CORRUPT alarm back, so that etcd takes writes again"
