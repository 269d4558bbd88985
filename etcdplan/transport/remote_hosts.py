"""Transport `ssh`: hosts behind SSH connections, and their etcds through the same connections."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from etcdplan.errors import EtcdplanError
from etcdplan.hosts.ports import EtcdReport
from etcdplan.hosts.remote.data import RemoteData
from etcdplan.hosts.remote.gather import Gathered, gather
from etcdplan.hosts.remote.host import RemoteHost
from etcdplan.hosts.remote.layout import Layout
from etcdplan.model.facts import Fact, unknown
from etcdplan.model.machine import Figures
from etcdplan.transport.errors import EtcdUnreachable
from etcdplan.transport.etcd import Credentials, EtcdClient
from etcdplan.transport.etcd_metrics import measure
from etcdplan.transport.etcd_report import EtcdClients, held, members_behind, report
from etcdplan.transport.ssh import SshHosts
from etcdplan.transport.ssh_forward import Forward

_FORWARD_TIMEOUT = 10.0


@dataclass(frozen=True, slots=True)
class TunnelledEtcd:
    """Implements `EtcdAccess`: etcd's client URLs, dialled by one host at the other end of its SSH connection.

    A tunnel ends with the connection that it was made on; then the next call makes a new one.
    """

    ssh: SshHosts
    address: str
    credentials: Credentials | None
    _tunnels: dict[str, tuple[Forward, EtcdClient]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def at(self, client_url: str, *, timeout: float = _FORWARD_TIMEOUT) -> EtcdClient:
        """Return the client of a URL; raise `EtcdUnreachable`, or what an SSH connection raises."""
        with self._lock:
            forward, client = self._tunnels.get(client_url, (None, None))
            if forward is not None and client is not None:
                if forward.connection.alive:
                    return client
                client.close()
            url = urlsplit(client_url)
            if not url.hostname or not url.port:
                raise EtcdUnreachable(client_url, "at all", "it is not a client URL")
            forward = self.ssh.forward(self.address, url.hostname, url.port, timeout=timeout)
            client = EtcdClient(client_url, self.credentials, through=forward.target)
            self._tunnels[client_url] = forward, client
            return client

    def ask(self, client_url: str, *, timeout: float) -> EtcdReport | None:
        """Return what the etcd there says; None when it does not answer in time."""
        try:
            client = self.at(client_url, timeout=timeout)
        except EtcdplanError:
            return None
        return report(client, timeout=timeout)

    def measure(self, client_url: str, *, timeout: float) -> Fact[Figures]:
        """Return what the etcd there has measured; unknown when it cannot be read in time."""
        try:
            self.at(client_url, timeout=timeout)
            forward, _ = self._tunnels[client_url]
        except (EtcdplanError, KeyError) as error:
            return unknown(f"metrics of {client_url}", f"{error}")
        return measure(client_url, self.credentials, timeout=timeout, dial=forward.dial)

    def held(self, client_url: str, *, timeout: float) -> str | None:
        """Return what the etcd there holds, as a hash; None when it does not answer."""
        return held(lambda url: self.at(url, timeout=timeout), client_url, timeout=timeout)

    def members_behind(self, url: str, *, times: int, timeout: float) -> tuple[int, ...]:
        """Connect so many times through the host; return the member ID of each etcd that answered."""
        parts = urlsplit(url)
        forward = self.ssh.forward(self.address, parts.hostname or "", parts.port or 0, timeout=timeout)
        return members_behind(url, self.credentials, forward.target, times=times, timeout=timeout)


@dataclass(frozen=True, slots=True)
class ReadDirectly:
    """Implements `EtcdAccess`: what is only read is asked for without a tunnel; changes still go through one.

    A controller that has been replaced must not be able to change anything, and its tunnels can be ended.
    """

    clients: EtcdClients
    tunnelled: TunnelledEtcd

    def at(self, client_url: str) -> EtcdClient:
        """Return the client of a URL for changes."""
        return self.tunnelled.at(client_url)

    def ask(self, client_url: str, *, timeout: float) -> EtcdReport | None:
        """Return what the etcd there says; None when it does not answer in time."""
        if _is_loopback(client_url):
            return self.tunnelled.ask(client_url, timeout=timeout)
        try:
            client = self.clients.at(client_url)
        except EtcdUnreachable:
            return None
        return report(client, timeout=timeout)

    def measure(self, client_url: str, *, timeout: float) -> Fact[Figures]:
        """Return what the etcd there has measured; unknown when it cannot be read in time."""
        if _is_loopback(client_url):
            return self.tunnelled.measure(client_url, timeout=timeout)
        return measure(client_url, self.clients.credentials, timeout=timeout)

    def held(self, client_url: str, *, timeout: float) -> str | None:
        """Return what the etcd there holds, as a hash; None when it does not answer."""
        return held(self.clients.at, client_url, timeout=timeout)

    def members_behind(self, url: str, *, times: int, timeout: float) -> tuple[int, ...]:
        """Connect so many times, through the host: it is there that the load balancer must be reached."""
        return self.tunnelled.members_behind(url, times=times, timeout=timeout)


class RemoteHosts:
    """Implements `Hosts` over SSH. `layout` says of a host's address where things are that files do not tell.

    `direct` lets etcd be read without a tunnel. `credentials` are None without TLS.
    """

    def __init__(
        self,
        ssh: SshHosts,
        *,
        credentials: Credentials | None,
        layout: Callable[[str], Layout],
        direct: bool = False,
    ) -> None:
        self._ssh = ssh
        self._credentials = credentials
        self._layout = layout
        self._clients = EtcdClients(credentials) if direct else None
        self._tunnelled: dict[str, TunnelledEtcd] = {}
        self._lock = threading.Lock()

    def etcd(self, address: str, client_url: str) -> EtcdClient:
        """Return a connection to the etcd at a URL, for reading; raise `EtcdUnreachable`, or what SSH raises."""
        if self._clients is None or _is_loopback(client_url):
            return self._through(address).at(client_url)
        return self._clients.at(client_url)

    def _through(self, address: str) -> TunnelledEtcd:
        with self._lock:
            return self._tunnelled.setdefault(address, TunnelledEtcd(self._ssh, address, self._credentials))

    def host(self, address: str) -> RemoteHost:
        """Return the host with that address."""
        tunnelled = self._through(address)
        access = ReadDirectly(self._clients, tunnelled) if self._clients else tunnelled
        return RemoteHost(self._ssh.shell(address), access, self._layout(address))

    def data(self, address: str) -> RemoteData:
        """Return what etcd has on a host's disk, for reading."""
        return RemoteData(self._ssh.shell(address), self._layout(address))

    def gather(self, address: str, *, timeout: float) -> Gathered:
        """Return the files of a host that a control plane needs to come back; raise `HostUnreachable`."""
        layout = self._layout(address)
        units = (layout.etcd_unit, *filter(None, layout.api_servers.values()))
        return gather(self._ssh.shell(address), units, timeout=timeout)

    def close(self) -> None:
        """End all connections."""
        if self._clients:
            self._clients.close()
        self._ssh.close()


def _is_loopback(url: str) -> bool:
    """Whether a client URL leads somewhere else on every machine: a restored member has one at first."""
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")
