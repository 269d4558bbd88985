"""etcd's program comes to a host."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from etcdplan.model.effects import Effect, InstallProgram
from etcdplan.model.state import State
from etcdplan.steps.base import Step


@dataclass(frozen=True, slots=True)
class InstallEtcd(Step):
    """etcd's program from the spec's archive lies whole on a host, beside those that lie there already.

    Its path names version and archive, so that nothing that runs is touched.
    """

    kind = "install-etcd"
    deadline = 600

    host: str
    version: str
    program: str

    @property
    def subject(self) -> str:
        """The host's program."""
        return f"program/{self.host}"

    def params(self) -> Mapping[str, Any]:
        """What must be where."""
        return {"host": self.host, "version": self.version, "program": self.program}

    def effects(self, state: State) -> tuple[Effect, ...]:
        """Install it unless it is there."""
        there = state.host(self.host).program.get() == self.program
        return () if there else (InstallProgram(self.host, self.version, self.program),)

    def summary(self) -> str:
        """Name version and host."""
        return f"install etcd {self.version} from the archive on {self.host}"
