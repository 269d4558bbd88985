"""The controller's side of the dead-men: heartbeats while a change is not verified, and what is seen of them.

A host arms by itself, before it writes what a running process reads. Its dead-man fires when no heartbeat comes.
"""

from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from threading import Event, Thread
from types import TracebackType
from typing import Self

from etcdplan.errors import EtcdplanError
from etcdplan.hosts.ports import HEARTBEAT_FILE, Hosts
from etcdplan.model.effects import WriteSettings
from etcdplan.model.state import ETCD, Host, State, Unit, api_server_unit, host_of, steady

INTERVAL = 3.0
"""Seconds between two heartbeats; a host waits five times as long."""


class Heartbeats:
    """Beats for hosts, in a thread for each, from `begin` on and while the context is open.

    `on` is False where there is no real time to beat in. A beat that does not arrive is no error: the next may.
    """

    def __init__(self, hosts: Hosts, token: int, *, on: bool = True) -> None:
        self._hosts = hosts
        self._token = token
        self._on = on
        self._end = Event()
        self._beating: set[str] = set()

    def begin(self, address: str) -> None:
        """Beat for a host from now on."""
        if self._on and address not in self._beating:
            self._beating.add(address)
            Thread(target=self._beat, args=(address,), name=f"dead-man {address}", daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()

    def _beat(self, address: str) -> None:
        for number in count(1):
            with suppress(EtcdplanError):
                self._hosts.host(address).store.write(HEARTBEAT_FILE, f"{self._token} {number}\n".encode())
            if self._end.wait(INTERVAL):
                return


def arms(state: State, effect: WriteSettings) -> bool:
    """Whether a host arms when these settings are written there: they are not what a running process may have read."""
    unit = state.host(effect.host).unit(effect.unit)
    on_disk = unit.settings.value
    return (
        unit.process.value is not None and on_disk is not None and steady(on_disk) != steady(effect.settings)
    )


def armed(state: State) -> Iterator[tuple[str, str]]:
    """Yield host and unit of every change that a host would take back."""
    return ((host.address, name) for host, name, unit in _units(state) if unit.armed)


def rolled_back(state: State) -> dict[tuple[str, str], str]:
    """Return by host and unit when and why settings were taken back."""
    return {
        (host.address, name): unit.rolled_back
        for host, name, unit in _units(state)
        if unit.rolled_back and not unit.armed
    }


def holds(state: State, address: str, name: str) -> bool:
    """Whether a unit does its work with the settings that are on disk: then they need not be taken back."""
    unit = state.hosts[address].unit(name)
    process, settings = unit.process.value, unit.settings.value
    if process is None or settings is None or not process.answering or process.hung:
        return False
    return steady(process.settings) == steady(settings) and (name != ETCD or _serves(state, address))


def works(state: State, address: str, name: str) -> bool:
    """Whether a unit does its work, with whatever settings."""
    process = state.hosts[address].unit(name).process.value
    return process is not None and process.answering and (name != ETCD or _serves(state, address))


def _serves(state: State, address: str) -> bool:
    membership = state.membership.value
    members = membership.members.values() if membership else ()
    return any(member.serving for member in members if host_of(member.peer_url) == address)


def _units(state: State) -> Iterator[tuple[Host, str, Unit]]:
    for host in state.hosts.values():
        yield host, ETCD, host.etcd
        for name, unit in host.api_servers.items():
            yield host, api_server_unit(name), unit
