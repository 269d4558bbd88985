"""Members hold different data: those that differ from the majority are replaced, and writes are let in again.

Sources: etcd's page on data corruption (compare HashKV; a CORRUPT alarm refuses all writes until it is taken back).
"""

from collections import defaultdict

from etcdplan.diff.view import View
from etcdplan.model.state import host_of
from etcdplan.planner.refusal import Refusal
from etcdplan.steps.base import Step
from etcdplan.steps.clear_alarm import ClearAlarm
from etcdplan.steps.retire_etcd import RetireEtcd


def all_were_asked(view: View) -> Refusal | None:
    """Data that differ, and nobody can say whose are right."""
    corruption = view.state.corruption
    if corruption is None or view.membership is None:
        return None
    voters = sorted(view.membership.voters(), key=lambda voter: voter.name or voter.peer_url)
    gone = {member.peer_url for member in view.corrupt} | view.lost.keys()
    unasked = [
        voter.name or voter.peer_url
        for voter in voters
        if voter.peer_url not in corruption.contents and voter.peer_url not in gone and voter.started
    ]
    if view.right is not None and not unasked:
        return None
    groups: dict[str, list[str]] = defaultdict(list)
    for voter in voters:
        if voter.peer_url in corruption.contents:
            groups[corruption.contents[voter.peer_url]].append(voter.name or voter.peer_url)
    said = [
        f"{' and '.join(names)} {'hold' if len(names) > 1 else 'holds'} the same" for names in groups.values()
    ]
    said += [f"{name} could not be asked" for name in unasked]
    if view.right is None:
        return Refusal(
            "corrupt",
            "cluster",
            f"A CORRUPT alarm stands, and no majority of the members holds the same data ({'; '.join(said)}): it is "
            "not known whose are right.",
            "Bring those up that could not be asked. If there is no majority then, restore a backup from before the "
            "alarm: etcdplan restore SPEC. Nobody is removed on a guess.",
        )
    return Refusal(
        "corrupt",
        "cluster",
        f"A CORRUPT alarm stands, and {', '.join(unasked)} could not be asked what it holds.",
        "Bring it up, or take it out of the spec when it is gone for good.",
        exit_code=8,
    )


def fence(view: View) -> Step | None:
    """Take members out of service whose data differ from the majority's."""
    for member in view.corrupt:
        return RetireEtcd(member.name, host_of(member.peer_url), forget=False)
    return None


def clear(view: View) -> Step | None:
    """Take the alarm back when all members that serve hold the same."""
    return ClearAlarm() if view.state.corruption is not None and view.membership is not None else None
