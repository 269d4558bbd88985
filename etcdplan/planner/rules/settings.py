"""Changed settings reach the members one at a time, the leader last."""

from etcdplan.diff.view import View
from etcdplan.planner.refusal import Refusal
from etcdplan.steps.base import Step


def rolling_change(view: View) -> Step | Refusal | None:
    """Change the settings of etcd, one member at a time."""
    if not view.born or view.membership is None:
        return None
    steps = [
        step
        for url, wanted in view.target.members.items()
        if url in view.membership.members and (step := view.etcd(wanted)).effects(view.state)
    ]
    if not steps:
        return None
    step = min(steps, key=lambda step: step.peer_url == view.state.leader)
    if not step.restarts(view.state) or view.quorum.tolerates >= 1:
        return step
    if view.quorum.voters <= 2 and view.target.allow_outage:
        return step
    return Refusal(
        "outage",
        step.subject,
        f"Restarting {step.name} would stop the cluster: {view.quorum.healthy} of {view.quorum.voters} voters serve "
        f"and {view.quorum.needed} are needed.",
        "Scale to three members first, or declare the outage with 'etcd.allowOutage: true'."
        if view.quorum.voters <= 2
        else "Bring the other members back first.",
    )
