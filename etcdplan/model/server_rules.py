"""The rules by which an etcd server accepts or rejects a membership change, as it runs by default.

Default means `--strict-reconfig-check` on and one learner at most. The rules are those of `mayAddMember`,
`mayRemoveMember`, `mayPromoteMember` (`etcdserver/server.go`), `IsReadyTo…` and `ValidateConfigurationChange`
(`etcdserver/api/membership/cluster.go`); a test compares them with real servers of each minor version.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

MAX_LEARNERS = 1
"""Fixed before etcd 3.6, `--max-learners` from then on."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A member as the serving one, the one that is called, sees it.

    `started` means that it has published its name, so it stays true when the member is down. `connected`: for more
    than 5 s (`HealthInterval`) without a break; the serving member itself always is. `settling`: connected, but
    not yet for so long.
    """

    started: bool
    learner: bool
    connected: bool
    settling: bool = False


class Operation(Enum):
    """A membership change."""

    ADD_VOTER = "add a voter"
    ADD_LEARNER = "add a learner"
    REMOVE = "remove"
    PROMOTE = "promote"


class Rejection(Enum):
    """Why the server does not make a change; the value is its exact text.

    Without quorum the server waits as long as the caller (`EtcdServer.configure`), and NO_QUORUM, which may have
    words about the cause appended, arrives at the caller's deadline or not at all; after it, and only then, the
    change may still happen. A promotion ends with NO_LEADER after 7 s by default.
    """

    UNHEALTHY_CLUSTER = "etcdserver: unhealthy cluster"
    NOT_ENOUGH_STARTED = "etcdserver: re-configuration failed due to not enough started members"
    TOO_MANY_LEARNERS = "etcdserver: too many learner members in cluster"
    LEARNER_NOT_READY = "etcdserver: can only promote a learner member which is in sync with leader"
    NOT_A_LEARNER = "etcdserver: can only promote a learner member"
    NO_QUORUM = "etcdserver: request timed out"
    NO_LEADER = "etcdserver: no leader"


def verdict(
    version: str,
    peers: Sequence[Peer],
    operation: Operation,
    target: int | None = None,
    *,
    learner_in_sync: bool = False,
) -> Rejection | None:
    """Return why a server of `version` ("3.6.16") rejects the operation, None when it accepts.

    `peers` are all members, `target` the index of the one to remove or promote. `learner_in_sync`: the target's
    log has reached 90 % of the leader's index (that of a voter which is connected counts as there).
    """
    voters = [peer for peer in peers if not peer.learner]
    subject = None if target is None else peers[target]
    match operation, subject:
        case Operation.ADD_VOTER | Operation.ADD_LEARNER as add, None:
            learner = add is Operation.ADD_LEARNER
            rejection = _may_add(version, voters, learner=learner)
            if rejection is None and learner and len(peers) - len(voters) >= MAX_LEARNERS:
                # Found when the change is applied, so only by a cluster that can apply it.
                return _may_commit(voters) or Rejection.TOO_MANY_LEARNERS
        case Operation.REMOVE, Peer():
            rejection = _may_remove(voters, subject)
        case Operation.PROMOTE, Peer():
            rejection = _may_promote(voters, subject, learner_in_sync)
        case _:
            raise ValueError(f"{operation} with target {target}")
    return rejection or _may_commit(voters)


def _quorum(voters: int) -> int:
    return voters // 2 + 1


def _connected(voters: Sequence[Peer]) -> int:
    return sum(peer.connected for peer in voters)


def _started(voters: Sequence[Peer]) -> int:
    return sum(peer.started for peer in voters)


def _may_add(version: str, voters: Sequence[Peer], *, learner: bool) -> Rejection | None:
    after = len(voters) + 1
    if not learner and len(voters) > 1 and _started(voters) < _quorum(after):
        return Rejection.NOT_ENOUGH_STARTED
    needed = _quorum(after) if _newcomer_alone_may_be_down(version) else len(voters)
    if len(voters) > 1 and _connected(voters) < needed:
        return Rejection.UNHEALTHY_CLUSTER
    return None


def _newcomer_alone_may_be_down(version: str) -> bool:
    """Whether an addition needs a quorum of n+1 connected, instead of all n (CHANGELOG 3.5.30, 3.6.11)."""
    major, minor, patch = (int(number) for number in version.partition("-")[0].split("."))
    return (major, minor, patch) >= {5: (3, 5, 30), 6: (3, 6, 11)}.get(minor, (3, 7, 0))


def _may_remove(voters: Sequence[Peer], subject: Peer) -> Rejection | None:
    if subject.learner:
        return None
    left = len(voters) - 1
    if _started(voters) - subject.started < _quorum(left):
        return Rejection.NOT_ENOUGH_STARTED
    up = subject.connected or subject.settling
    if up and _connected(voters) - 1 < _quorum(left):
        return Rejection.UNHEALTHY_CLUSTER
    return None


def _may_promote(voters: Sequence[Peer], subject: Peer, in_sync: bool) -> Rejection | None:
    if _may_commit(voters) is not None:
        return Rejection.NO_LEADER  # Only a leader knows how far the learner is.
    up_voter = not subject.learner and (subject.connected or subject.settling)
    if not (in_sync or up_voter):
        return Rejection.LEARNER_NOT_READY
    if _started(voters) + 1 < _quorum(len(voters) + 1):
        return Rejection.NOT_ENOUGH_STARTED
    return None if subject.learner else Rejection.NOT_A_LEARNER


def _may_commit(voters: Sequence[Peer]) -> Rejection | None:
    up = sum(peer.connected or peer.settling for peer in voters)
    return None if up >= _quorum(len(voters)) else Rejection.NO_QUORUM
