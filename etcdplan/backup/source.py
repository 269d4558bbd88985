"""Which member a snapshot is taken from."""

from etcdplan.errors import RefusedError
from etcdplan.model.state import Member, State


def choose_member(state: State) -> Member:
    """Return a voter that serves and does not lead; the leader only when it is the only one.

    A voter that answered a linearizable read has applied all that was acknowledged before, so it does not lag. Raises
    `RefusedError` when none serves, or when members of several clusters answer.
    """
    if len(state.clusters) > 1:
        raise RefusedError(
            "Members of more than one cluster answer, so it is not known whose data is wanted.",
            hint="etcdplan status SPEC shows them.",
        )
    membership = None if state.membership.is_unknown else state.membership.value
    serving = [] if membership is None else [one for one in membership.voters() if one.serving]
    if membership is not None and state.corruption is not None:
        right = state.corruption.right([voter.peer_url for voter in membership.voters()])
        contents = state.corruption.contents
        serving = [one for one in serving if right is not None and contents.get(one.peer_url) == right]
        if not serving:
            raise RefusedError(
                "A CORRUPT alarm stands, and it is not known whose data are right.",
                hint="etcdplan plan SPEC says what is known.",
            )
    if not serving:
        raise RefusedError(
            "No member serves, so there is nothing to take a snapshot from.",
            hint="etcdplan status SPEC shows how the members stand.",
        )
    return min(serving, key=lambda one: (one.peer_url == state.leader, one.name))
