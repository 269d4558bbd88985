"""Steps about one API server."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from etcdplan.model.effects import Effect, Start, Stop, WriteSettings
from etcdplan.model.state import Settings, State, api_server_unit, host_of
from etcdplan.steps.base import Step


def same_flags(settings: Settings | None, wanted: Settings) -> bool:
    """Whether an API server's settings are the wanted ones; the order of endpoints means nothing."""
    if settings is None or settings.keys() != wanted.keys():
        return False
    return all(
        value == wanted[flag]
        or (flag == "etcd-servers" and sorted(value.split(",")) == sorted(wanted[flag].split(",")))
        for flag, value in settings.items()
    )


@dataclass(frozen=True, slots=True)
class RunApiServer(Step):
    """An API server runs with these `etcd-*` flags and is ready."""

    kind = "run-apiserver"
    deadline = 180

    name: str
    host: str
    settings: Settings

    @property
    def subject(self) -> str:
        """The instance."""
        return f"apiserver/{self.name}"

    def params(self) -> Mapping[str, Any]:
        """The flags."""
        return {"host": self.host, "settings": dict(self.settings)}

    def effects(self, state: State) -> tuple[Effect, ...]:
        """Write what differs, stop what runs otherwise, start what does not run."""
        unit_name = api_server_unit(self.name)
        unit = state.host(self.host).unit(unit_name)
        process = unit.process.get()
        left: list[Effect] = []
        if not same_flags(unit.settings.get(), self.settings):
            left.append(WriteSettings(self.host, unit_name, self.settings))
        if process is not None and (process.hung or not same_flags(process.settings, self.settings)):
            left.append(Stop(self.host, unit_name))
            process = None
        if process is None:
            left.append(Start(self.host, unit_name))
        return tuple(left)

    def restarts(self, state: State) -> tuple[str, ...]:
        """The API server, when it runs now."""
        stops = any(isinstance(effect, Stop) for effect in self.effects(state))
        return (f"{self.host}/{api_server_unit(self.name)}",) if stops else ()

    def summary(self) -> str:
        """Name the instance and its endpoints."""
        hosts = (host_of(url) for url in self.settings.get("etcd-servers", "").split(","))
        return f"run API server {self.name} on etcd at {', '.join(hosts)}"


@dataclass(frozen=True, slots=True)
class StopApiServer(Step):
    """An API server does not run, since the member that it talks to is out of service."""

    kind = "stop-apiserver"

    name: str
    host: str

    @property
    def subject(self) -> str:
        """The instance."""
        return f"apiserver/{self.name}"

    def params(self) -> Mapping[str, Any]:
        """Where it must not run."""
        return {"host": self.host}

    def effects(self, state: State) -> tuple[Effect, ...]:
        """Stop it while it runs."""
        unit = api_server_unit(self.name)
        running = state.host(self.host).unit(unit).process.get() is not None
        return (Stop(self.host, unit),) if running else ()

    def summary(self) -> str:
        """Name the instance."""
        return f"stop API server {self.name} on {self.host}"
