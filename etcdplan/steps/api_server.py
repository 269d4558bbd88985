"""Steps about one API server."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from etcdplan.model.effects import Effect, RouteClients, Start, Stop, WriteSettings
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
    """An API server runs with these `etcd-*` flags and is ready.

    `drain` names the hook that routes its clients away before it is stopped, if there is one.
    """

    kind = "run-apiserver"
    deadline = 400

    name: str
    host: str
    settings: Settings
    drain: str = ""

    @property
    def subject(self) -> str:
        """The instance."""
        return f"apiserver/{self.name}"

    def params(self) -> Mapping[str, Any]:
        """The flags, and who routes its clients away."""
        drain = {"drain": self.drain} if self.drain else {}
        return {"host": self.host, "settings": dict(self.settings), **drain}

    def effects(self, state: State) -> tuple[Effect, ...]:
        """Write what differs, stop what runs otherwise, start what does not run.

        Clients are routed away before anything is written: the host arms its dead-man then, and a hook may take long.
        """
        unit_name = api_server_unit(self.name)
        unit = state.host(self.host).unit(unit_name)
        process = unit.process.get()
        ends = process is not None and (process.hung or not same_flags(process.settings, self.settings))
        left: list[Effect] = []
        if ends and self.drain and not unit.drained:
            left.append(RouteClients(self.host, unit_name, self.drain, away=True))
        if not same_flags(unit.settings.get(), self.settings):
            left.append(WriteSettings(self.host, unit_name, self.settings))
        if ends:
            left.append(Stop(self.host, unit_name))
        if ends or process is None:
            left.append(Start(self.host, unit_name))
        return tuple(left)

    def restarts(self, state: State) -> tuple[str, ...]:
        """The API server, when it runs now."""
        stops = any(isinstance(effect, Stop) for effect in self.effects(state))
        return (f"{self.host}/{api_server_unit(self.name)}",) if stops else ()

    def summary(self) -> str:
        """Name the instance and its endpoints."""
        hosts = (host_of(url) for url in self.settings.get("etcd-servers", "").split(","))
        drain = f"; before a stop clients are routed away ({self.drain})" if self.drain else ""
        return f"run API server {self.name} on etcd at {', '.join(hosts)}{drain}"


@dataclass(frozen=True, slots=True)
class StopApiServer(Step):
    """An API server does not run, since the member that it talks to is out of service.

    `drain` names the hook that routes its clients away first, if there is one.
    """

    kind = "stop-apiserver"
    deadline = 180

    name: str
    host: str
    drain: str = ""

    @property
    def subject(self) -> str:
        """The instance."""
        return f"apiserver/{self.name}"

    def params(self) -> Mapping[str, Any]:
        """Where it must not run."""
        return {"host": self.host, **({"drain": self.drain} if self.drain else {})}

    def effects(self, state: State) -> tuple[Effect, ...]:
        """Route its clients away, and stop it, while it runs."""
        unit_name = api_server_unit(self.name)
        unit = state.host(self.host).unit(unit_name)
        if unit.process.get() is None:
            return ()
        away = RouteClients(self.host, unit_name, self.drain, away=True)
        return (*((away,) if self.drain and not unit.drained else ()), Stop(self.host, unit_name))

    def summary(self) -> str:
        """Name the instance."""
        first = f"route clients away ({self.drain}) and " if self.drain else ""
        return f"{first}stop API server {self.name} on {self.host}"


@dataclass(frozen=True, slots=True)
class RouteClientsBack(Step):
    """Clients of an API server that is ready again are routed to it."""

    kind = "route-clients"
    deadline = 180

    name: str
    host: str
    hook: str

    @property
    def subject(self) -> str:
        """The instance."""
        return f"apiserver/{self.name}"

    def params(self) -> Mapping[str, Any]:
        """Who routes them."""
        return {"host": self.host, "hook": self.hook}

    def effects(self, state: State) -> tuple[Effect, ...]:
        """Route them while they are routed away."""
        unit = api_server_unit(self.name)
        drained = state.host(self.host).unit(unit).drained
        return (RouteClients(self.host, unit, self.hook, away=False),) if drained else ()

    def summary(self) -> str:
        """Name the hook and the instance."""
        return f"route clients back ({self.hook}) to API server {self.name}"
