"""Healthy members that the spec does not name go last, when their successors vote; learners stand in their way."""

from etcdplan.diff.view import View
from etcdplan.steps.base import Step
from etcdplan.steps.membership import RemoveMember


def remove_learners(view: View) -> Step | None:
    """Remove learners that the spec does not name."""
    for member in view.leaving:
        if member.learner:
            return RemoveMember(member.name, member.peer_url)
    return None


def remove_leaving(view: View) -> Step | None:
    """Remove members that the spec does not name."""
    for member in view.leaving:
        return RemoveMember(member.name, member.peer_url, frozenset(view.target.members))
    return None
