"""Certificates come first: they hurt nobody, and whatever starts later needs them."""

from etcdplan.diff.backup_hosts import answering
from etcdplan.diff.target import Owner
from etcdplan.diff.view import View
from etcdplan.planner.refusal import Refusal
from etcdplan.steps.base import Step
from etcdplan.steps.credentials import TrustAuthority

BACKDATED = 300
"""Seconds by which certificates are made valid earlier (`pki.authority.CLOCK_SKEW`)."""


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


def certificates(view: View) -> Step | Refusal | None:
    """Issue certificates."""
    owners: tuple[Owner, ...] = (*view.target.members.values(), *view.api_servers, *answering(view))
    for owner in owners:
        for step in view.certificates(owner):
            if step.effects(view.state):
                return _clock_is_wrong(view, step.host) or step
    return None


def _clock_is_wrong(view: View, host: str) -> Refusal | None:
    """A certificate is dated by the clock of this machine, and judged by that of the host."""
    ahead = view.state.host(host).machine.clock_ahead.value
    if ahead is None or abs(ahead) < BACKDATED:
        return None
    return Refusal(
        "clocks-differ",
        f"host/{host}",
        f"The clocks of {host} and of this machine are {abs(ahead):.0f} s apart: a certificate that is issued now "
        "would not be valid there, or not for as long as it should.",
        "Set the clock that is wrong, and plan again.",
    )
