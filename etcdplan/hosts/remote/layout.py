"""Where things are on a systemd host that files alone do not tell."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from etcdplan.hosts.ports import HostRefused
from etcdplan.model.state import ETCD

_API_SERVER = re.compile(r"kube-apiserver(?:[-@](?P<name>[A-Za-z0-9.-]+))?\.service")
_NAME = re.compile(r"apiserver/([a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?)")


@dataclass(frozen=True, slots=True)
class Layout:
    """`program`, `user` and `data_dir` count where etcd has no unit yet, or its settings do not say.

    `source` is where etcd from the spec's archive must lie; then `program` is that, and counts for every unit.

    `etcdplan` is the directory of the etcdplan that takes backups on this host, if any does.

    `api_servers` are the instances that the spec has on this host, each with its unit when the spec names one, else
    empty. Unnamed, instance NAME is `kube-apiserver-NAME.service` or `kube-apiserver@NAME.service`, and a
    `kube-apiserver.service` is the only instance that has no such unit.
    """

    etcd_unit: str = "etcd.service"
    source: str = ""
    program: str = "/usr/local/bin/etcd"
    user: str = "etcd"
    data_dir: str = "/var/lib/etcd"
    etcdplan: str = ""
    api_servers: Mapping[str, str] = field(default_factory=dict)

    def unit_names(self, units: Iterable[str]) -> dict[str, str]:
        """Return the API servers among a host's units: unit by instance name."""
        given = {unit: name for name, unit in self.api_servers.items() if unit}
        found: dict[str, str] = {}
        plain = ""
        for unit in sorted(units):
            match = _API_SERVER.fullmatch(unit)
            if unit in given:
                found[given[unit]] = unit
            elif match is not None and match["name"]:
                found.setdefault(match["name"], unit)
            elif match is not None:
                plain = unit
        if plain:
            left = [name for name, unit in self.api_servers.items() if not unit and name not in found]
            found.setdefault(left[0] if len(left) == 1 else "kube-apiserver", plain)
        return found

    def unit(self, name: str, units: Iterable[str]) -> str:
        """Return systemd's name for a unit of the model's; raise `HostRefused` when there is none."""
        if name == ETCD:
            return self.etcd_unit
        match = _NAME.fullmatch(name)
        if match is None:
            raise HostRefused(f"There is no unit {name!r} on any host.")
        found = self.unit_names(units).get(match[1])
        if found is None:
            raise HostRefused(
                f"There is no unit for the API server {match[1]}.",
                hint=f"Its unit is kube-apiserver-{match[1]}.service, or kube-apiserver.service for the only one.",
            )
        return found
