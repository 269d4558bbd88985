"""Certificates come first: they hurt nobody, and whatever starts later needs them."""

from etcdplan.diff.target import ApiServerTarget, MemberTarget
from etcdplan.diff.view import View
from etcdplan.steps.base import Step
from etcdplan.steps.credentials import TrustAuthority


def trust(view: View) -> Step | None:
    """Install the CA certificate."""
    if not view.target.ca:
        return None
    for host in view.target.hosts():
        if view.absent_api_host(host):
            continue
        step = TrustAuthority(host, (view.target.ca,))
        if step.effects(view.state):
            return step
    return None


def certificates(view: View) -> Step | None:
    """Issue certificates."""
    owners: tuple[MemberTarget | ApiServerTarget, ...] = (*view.target.members.values(), *view.api_servers)
    for owner in owners:
        for step in view.certificates(owner):
            if step.effects(view.state):
                return step
    return None
