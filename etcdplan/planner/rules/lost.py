"""Members that failed for good go before new ones come, one at a time."""

from etcdplan.diff.view import View
from etcdplan.steps.base import Step
from etcdplan.steps.membership import RemoveMember
from etcdplan.steps.retire_etcd import RetireEtcd


def retire_lost(view: View) -> Step | None:
    """Take failed members out of service."""
    for url in sorted(view.lost):
        member = view.membership.members[url] if view.membership else None
        host = view.member_host(member) if member else None
        if member is None or host is None or host.unreachable:
            continue
        step = RetireEtcd(member.name, host.address, forget=host.address not in view.target.hosts())
        if step.effects(view.state):
            return step
    return None


def remove_lost(view: View) -> Step | None:
    """Remove failed members."""
    for url in sorted(view.lost):
        member = view.membership.members[url] if view.membership else None
        if member is not None:
            return RemoveMember(member.name, url)
    return None
