"""One member list from what many members say; where they disagree, nothing is known."""

from collections.abc import Collection

from etcdplan.hosts.ports import EtcdReport, ListedMember
from etcdplan.model.facts import ABSENT, Fact, known, unknown
from etcdplan.model.state import Member, Membership

Listing = frozenset[tuple[int, str, bool]]


def compose(answers: Collection[EtcdReport], *, remembered: bool) -> tuple[Fact[Membership], str | None]:
    """Return the member list and the leader's peer URL.

    Lists that were read linearizably count; without any, the members' own lists, if these agree. With `remembered`
    (a host knows of a cluster, or could not be asked) silence is not absence.
    """
    if len({answer.cluster_id for answer in answers}) > 1:
        return unknown("members", "more than one cluster answers"), None
    listing = [answer for answer in answers if answer.confirmed] or [
        answer for answer in answers if answer.members
    ]
    if not listing:
        if remembered or answers:
            return unknown("members", "no etcd that could list the members answers"), None
        return ABSENT, None
    if len({_listing(answer) for answer in listing}) > 1:
        return unknown("members", "the members' lists disagree; a change may be under way"), None
    answered = {answer.member_id: answer for answer in answers}
    newest = max(listing, key=lambda answer: sum(bool(entry.name) for entry in answer.members))
    members = [_member(entry, answered.get(entry.id)) for entry in newest.members]
    leader = next((answer.leader_id for answer in answers if answer.serves and answer.leader_id), 0)
    leader_url = next((member.peer_url for member in members if member.id == leader), None)
    return known(
        Membership(listing[0].cluster_id, {member.peer_url: member for member in members})
    ), leader_url


def _listing(answer: EtcdReport) -> Listing:
    """Return what lists must agree on; names and client URLs are published by members at any time."""
    return frozenset((m.id, ",".join(sorted(m.peer_urls)), m.is_learner) for m in answer.members)


def _member(entry: ListedMember, answer: EtcdReport | None) -> Member:
    serving = answer is not None and (answer.serves or (entry.is_learner and answer.leader_id != 0))
    return Member(
        id=entry.id,
        name=entry.name,
        peer_url=min(entry.peer_urls, default=""),
        client_urls=entry.client_urls,
        learner=entry.is_learner,
        serving=serving,
        version=answer.version if answer else "",
    )
