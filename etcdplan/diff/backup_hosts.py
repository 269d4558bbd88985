"""The questions that rules ask about hosts that take backups by themselves."""

from collections.abc import Iterator

from etcdplan.diff.target import BackupHostTarget
from etcdplan.diff.view import View
from etcdplan.model.state import Host


def answering(view: View) -> tuple[BackupHostTarget, ...]:
    """Return the spec's backup hosts that answer: the cluster does not wait for the others."""
    hosts = view.target.backup_hosts.values()
    return tuple(one for one in hosts if not view.state.host(one.host).unreachable)


def former(view: View) -> Iterator[Host]:
    """Yield the hosts that answer and take backups though the spec does not say so."""
    for host in view.state.hosts.values():
        if not host.unreachable and host.address not in view.target.backup_hosts and host.job.get():
            yield host


def belongs_no_longer(view: View, host: Host) -> bool:
    """Whether a former backup host is nothing else of the cluster's; what a member left behind is fenced first."""
    return not (host.address in view.target.hosts() or host.etcd.settings.get() or host.data.get())
