"""What runs must be there first; a program that nobody runs yet hurts nobody."""

from etcdplan.diff.backup_hosts import answering
from etcdplan.diff.view import View
from etcdplan.steps.base import Step
from etcdplan.steps.program import InstallEtcd


def install(view: View) -> Step | None:
    """Install etcd's program."""
    if not view.target.program:
        return None
    for host in dict.fromkeys((*view.target.member_hosts, *(one.host for one in answering(view)))):
        step = InstallEtcd(host, view.target.version, view.target.program)
        if step.effects(view.state):
            return step
    return None
