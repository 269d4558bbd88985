"""Transport `local` with runtime `process`: a host is a directory of this machine, and a loopback address.

Below the host's directory every path is as on a machine of its own: `etc/etcdplan`, `var/lib/etcd`.
"""

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from etcdplan.diff.target import CA_FILE, PKI
from etcdplan.hosts import leaf_pairs
from etcdplan.hosts.data_copy import LocalData
from etcdplan.hosts.data_dir import read_data, read_staged
from etcdplan.hosts.files import plain_reason, read_if_there
from etcdplan.hosts.listening import listening
from etcdplan.hosts.ports import EtcdReport, HostReport
from etcdplan.hosts.remote.gather import Gathered, gather
from etcdplan.hosts.supervisor import SupervisedUnit
from etcdplan.hosts.unit_files import UnitFiles, api_servers
from etcdplan.model.facts import Fact, unknown
from etcdplan.model.machine import Figures, Machine, Volume
from etcdplan.model.state import ETCD, Process, Unit, api_server_unit
from etcdplan.transport.etcd import Credentials, EtcdClient
from etcdplan.transport.etcd_metrics import measure
from etcdplan.transport.etcd_report import EtcdClients, ask, held
from etcdplan.transport.local_effects import RECORD, LocalEffects, drained_note
from etcdplan.transport.local_shell import BelowRoot
from etcdplan.transport.local_store import LocalStore

T = TypeVar("T")

DATA_DIR = "/var/lib/etcd"
_READY_TIMEOUT = 1.0


class LocalHosts:
    """Implements `Hosts`: each host is a directory of `hosts`, named by its address.

    `versions` tells the version of a program by its resolved path. `credentials` are None without TLS.
    """

    def __init__(
        self,
        hosts: Path,
        *,
        versions: Mapping[str, str],
        credentials: Credentials | None,
        default_data_dir: str = DATA_DIR,
    ) -> None:
        self._hosts = hosts.resolve()
        self._versions = versions
        self._clients = EtcdClients(credentials)
        self._default_data_dir = default_data_dir

    def host(self, address: str) -> "LocalHost":
        """Return the host with that address."""
        # Whatever the member list says, this stays below the directory of hosts.
        name = quote(address, safe=":") if address.strip(".") else "%2e"
        store = LocalStore(address, self._hosts / name)
        return LocalHost(store, LocalEffects(store, self._clients, self._default_data_dir), self._versions)

    def etcd(self, _address: str, client_url: str) -> EtcdClient:
        """Return a connection to the etcd at a URL; raise `EtcdUnreachable` for one that cannot be dialled."""
        return self._clients.at(client_url)

    def data(self, address: str) -> LocalData:
        """Return what etcd has on a host's disk, for reading; raise `HostUnreachable`."""
        host = self.host(address)
        with host.store.reading():
            dirs = UnitFiles(host.store.root, ETCD).data_dirs(self._default_data_dir)
        return LocalData(address, *dirs)

    def gather(self, address: str, *, timeout: float) -> Gathered:
        """Return the files of a host that a control plane needs to come back; raise `HostUnreachable`."""
        return gather(BelowRoot(address, self.host(address).store.root), (), timeout=timeout)

    def close(self) -> None:
        """Drop all connections to etcd."""
        self._clients.close()


@dataclass(frozen=True, slots=True)
class LocalHost:
    """Implements `ManagedHost`."""

    store: LocalStore
    effects: LocalEffects
    versions: Mapping[str, str]

    @property
    def address(self) -> str:
        """The host's address."""
        return self.store.address

    def inspect(self, *, timeout: float, kept: bool = False) -> HostReport:
        """Return what is on the host. `answering` of an etcd is not told by files and processes.

        Nothing is `kept`: the host's own directory is as near later on.
        """
        deadline = time.monotonic() + timeout
        root = self.store.root
        etcd, pki = UnitFiles(root, ETCD), root / PKI.lstrip("/")
        with self.store.reading():
            servers = {name: UnitFiles(root, api_server_unit(name)) for name in api_servers(root)}
            leafs = leaf_pairs.leaf_names(pki)
            return HostReport(
                etcd=self._unit(etcd, deadline),
                data=self._fact("data", lambda: read_data(*etcd.data_dirs(self.effects.default_data_dir))),
                staged=self._fact(
                    "staged", lambda: read_staged(*etcd.data_dirs(self.effects.default_data_dir))
                ),
                leafs={
                    leaf: self._fact(f"leaf/{leaf}", partial(leaf_pairs.read_leaf, pki, leaf))
                    for leaf in leafs
                },
                trust=self._fact("trust", partial(read_if_there, root / CA_FILE.lstrip("/"))),
                record=self._fact("record", partial(read_if_there, self.store.directory / RECORD)),
                api_servers={name: self._unit(files, deadline) for name, files in servers.items()},
                installed=frozenset(name for name, files in servers.items() if files.installed),
                free_bytes=self._free_bytes(etcd),
                machine=Machine(
                    data=self._fact("disk", lambda: self._volumes(etcd)[0]),
                    log=self._fact("log-disk", lambda: self._volumes(etcd)[1]),
                    listening=self._fact("ports", _listening),
                ),
            )

    def ask_etcd(self, client_url: str, *, timeout: float) -> EtcdReport | None:
        """Ask the etcd at `client_url`; None when it does not answer in time."""
        return ask(self.effects.clients, client_url, timeout=timeout)

    def measure_etcd(self, client_url: str, *, timeout: float) -> Fact[Figures]:
        """Return what the etcd at `client_url` has measured."""
        return measure(client_url, self.effects.clients.credentials, timeout=timeout)

    def held_by_etcd(self, client_url: str, *, timeout: float) -> str | None:
        """Return what the etcd at `client_url` holds, as a hash; None when it does not answer."""
        return held(self.effects.clients.at, client_url, timeout=timeout)

    def members_behind(self, url: str, *, times: int, timeout: float) -> tuple[int, ...]:
        """Connect to a URL so many times; return the member ID of each etcd that answered."""
        return self.effects.clients.members_behind(url, times=times, timeout=timeout)

    def _unit(self, files: UnitFiles, deadline: float) -> Unit:
        supervised = SupervisedUnit(self.store.root, files.name)
        return Unit(
            settings=self._fact(f"{files.unit}/settings", files.settings),
            process=self._fact(f"{files.unit}/process", lambda: self._process(files, supervised, deadline)),
            held=supervised.held,
            failing=supervised.failing,
            drained=not files.is_etcd and (self.store.directory / drained_note(files.unit)).exists(),
        )

    def _process(self, files: UnitFiles, supervised: SupervisedUnit, deadline: float) -> Process | None:
        running = supervised.process()
        if running is None:
            return None
        argv, program = running.argv(), running.program()
        if not argv or not program:
            return None
        ready = False
        if not files.is_etcd:
            # Here, because few commands look at an API server and this takes a while to import.
            from etcdplan.hosts.readyz import is_ready

            left = deadline - time.monotonic()
            ready = left > 0 and is_ready(*files.serves_at(argv), timeout=min(left, _READY_TIMEOUT))
        version = self.versions.get(program, "")
        settings, hung = files.settings_of(argv), running.is_stopped()
        return Process(settings, ready, hung=hung, version=version, started=running.started())

    def _fact(self, name: str, read: Callable[[], T | None]) -> Fact[T]:
        name = f"host/{self.address}/{name}"
        try:
            return Fact(read(), name=name, seen=str(self.store.root))
        except OSError as error:
            return unknown(
                name, f"{plain_reason(error)} ({error.filename})" if error.filename else str(error)
            )
        except ValueError as error:
            return unknown(name, str(error))

    def _free_bytes(self, etcd: UnitFiles) -> int | None:
        try:
            return self._volumes(etcd)[0].free
        except (OSError, ValueError):
            return None

    def _volumes(self, etcd: UnitFiles) -> tuple[Volume, Volume | None]:
        """Return the file systems of the data and of a log that is elsewhere; raise `OSError` or `ValueError`."""
        data, log = etcd.data_dirs(self.effects.default_data_dir)
        return self._volume(data), self._volume(log) if log else None

    def _volume(self, directory: Path) -> Volume:
        place, root = directory, self.store.root
        while not place.exists() and place != root:
            place = place.parent
        usage = shutil.disk_usage(place)
        return Volume(f"/{directory.relative_to(root)}", usage.free, usage.total)


def _listening() -> tuple[tuple[str, int], ...]:
    return listening("".join(Path("/proc/net", table).read_text() for table in ("tcp", "tcp6")))
