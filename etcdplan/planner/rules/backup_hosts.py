"""Hosts that take backups by themselves come last: the cluster does not wait for them."""

from etcdplan.diff.backup_hosts import answering, belongs_no_longer, former
from etcdplan.diff.view import View
from etcdplan.steps.backup_host import InstallItself, RemoveBackupTimer, SetBackupTimer
from etcdplan.steps.base import Step


def install_itself(view: View) -> Step | None:
    """Install etcdplan on backup hosts."""
    for wanted in answering(view):
        step = InstallItself(wanted.host, wanted.job.program, wanted.job.extras)
        if step.effects(view.state):
            return step
    return None


def set_up(view: View) -> Step | None:
    """Set up backup hosts."""
    for wanted in answering(view):
        job = wanted.job
        step = SetBackupTimer(wanted.host, job.program, job.files, job.directories)
        if step.effects(view.state):
            return step
    return None


def dismiss(view: View) -> Step | None:
    """Dismiss backup hosts."""
    for host in former(view):
        return RemoveBackupTimer(host.address, forget=belongs_no_longer(view, host))
    return None
