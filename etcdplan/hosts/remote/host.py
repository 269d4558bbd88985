"""A systemd host behind a shell: everything that is read or changed there is a script that runs on it."""

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from etcdplan.hosts.ports import EtcdReport, HostReport
from etcdplan.hosts.remote.calls import EtcdAccess
from etcdplan.hosts.remote.inspect import inspect
from etcdplan.hosts.remote.layout import Layout
from etcdplan.hosts.remote.report import report
from etcdplan.hosts.remote.store import RemoteStore, SeenStore
from etcdplan.hosts.remote.view import View
from etcdplan.hosts.shell import Shell
from etcdplan.model.facts import Fact, known
from etcdplan.model.machine import Figures

if TYPE_CHECKING:
    from etcdplan.hosts.remote.effects import RemoteEffects


@dataclass(frozen=True, slots=True)
class RemoteHost:
    """Implements `ManagedHost`. `access` reaches the etcds through this host, or directly."""

    shell: Shell
    access: EtcdAccess
    layout: Layout = field(default_factory=Layout)

    @property
    def address(self) -> str:
        """The host's address."""
        return self.shell.address

    @property
    def store(self) -> RemoteStore:
        """etcdplan's own directory."""
        return RemoteStore(self.shell)

    @property
    def effects(self) -> "RemoteEffects":
        """What can be changed."""
        # Here, because what only looks needs none of it.
        from etcdplan.hosts.remote.effects import RemoteEffects

        return RemoteEffects(self.shell, self.access, self.layout)

    def inspect(self, *, timeout: float, kept: bool = False) -> HostReport:
        """Return what is on the host. `answering` of an etcd is not told by files and processes."""

        def conclude(view: View) -> HostReport:
            found = report(self.address, self.layout, view)
            return replace(found, kept=SeenStore(view.kept, self.store)) if kept else found

        found, ahead = inspect(self.shell, self.layout, conclude, timeout=timeout, kept=kept)
        clock = known(ahead, seen=self.address)
        return replace(found, machine=replace(found.machine, clock_ahead=clock))

    def ask_etcd(self, client_url: str, *, timeout: float) -> EtcdReport | None:
        """Ask the etcd at `client_url`; None when it does not answer in time."""
        return self.access.ask(client_url, timeout=timeout)

    def measure_etcd(self, client_url: str, *, timeout: float) -> Fact[Figures]:
        """Return what the etcd at `client_url` has measured."""
        return self.access.measure(client_url, timeout=timeout)

    def held_by_etcd(self, client_url: str, *, timeout: float) -> str | None:
        """Return what the etcd at `client_url` holds, as a hash; None when it does not answer."""
        return self.access.held(client_url, timeout=timeout)

    def members_behind(self, url: str, *, times: int, timeout: float) -> tuple[int, ...]:
        """Connect to a URL so many times; return the member ID of each etcd that answered."""
        return self.access.members_behind(url, times=times, timeout=timeout)
