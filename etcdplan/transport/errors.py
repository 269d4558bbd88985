"""What can go wrong when etcd is called.

EtcdplanError
├── EtcdRejected           etcd answered that it did not do it; nothing has changed
├── OutcomeUnknownError
│   └── EtcdOutcomeUnknown a mutating call whose effect may or may not have happened, now or later
└── UnobservedError
    └── EtcdUnreachable    no answer; when the call was a mutating one, it was never sent
"""

from enum import Enum

from etcdplan.errors import EtcdplanError, OutcomeUnknownError, UnobservedError


class Reason(Enum):
    """Why etcd certainly did not do what it was asked; the value is its exact text.

    The text decides and not the gRPC code, which varies (etcd `v3rpc/rpctypes/error.go`: "not enough started
    members" arrives as UNKNOWN, "not supported for learner" as UNAVAILABLE before 3.6).
    """

    UNHEALTHY_CLUSTER = "etcdserver: unhealthy cluster"
    NOT_ENOUGH_STARTED = "etcdserver: re-configuration failed due to not enough started members"
    TOO_MANY_LEARNERS = "etcdserver: too many learner members in cluster"
    LEARNER_NOT_READY = "etcdserver: can only promote a learner member which is in sync with leader"
    NOT_A_LEARNER = "etcdserver: can only promote a learner member"
    PEER_URL_EXISTS = "etcdserver: Peer URLs already exists"
    MEMBER_ID_EXISTS = "etcdserver: member ID already exist"
    MEMBER_NOT_FOUND = "etcdserver: member not found"
    BAD_URLS = "etcdserver: given member URLs are invalid"
    NOT_LEADER = "etcdserver: not leader"
    BAD_TRANSFEREE = "etcdserver: bad leader transferee"
    NOT_SUPPORTED_FOR_LEARNER = "etcdserver: rpc not supported for learner"
    PERMISSION_DENIED = "etcdserver: permission denied"
    NO_USER = "etcdserver: user name is empty"
    UNKNOWN_USER = "etcdserver: user name not found"
    UNIMPLEMENTED = "unimplemented"
    """The one that is known by its code: the server has no such method."""


_HINTS = {
    Reason.UNHEALTHY_CLUSTER: "A member is down, or has been connected for less than five seconds.",
    Reason.NOT_ENOUGH_STARTED: "A member that was added has never started: start it, or remove it.",
    Reason.TOO_MANY_LEARNERS: "Promote or remove the learner that is there.",
    Reason.LEARNER_NOT_READY: "The learner has not caught up yet.",
    Reason.PERMISSION_DENIED: "The client certificate's user lacks the root role.",
    Reason.NO_USER: "etcd's authentication is on: a client certificate that names a user is needed.",
    Reason.UNKNOWN_USER: "etcd's authentication is on: the client certificate's common name must be a user's.",
}


class EtcdRejected(EtcdplanError):
    """The server answered, and it did not do it."""

    def __init__(self, endpoint: str, call: str, reason: Reason) -> None:
        super().__init__(f"{endpoint} refused {call}: {reason.value}.", hint=_HINTS.get(reason, ""))
        self.reason = reason


class EtcdOutcomeUnknown(OutcomeUnknownError):
    """A mutating call failed in a way that does not tell whether it took effect, or still will.

    Look at the cluster, never repeat it blindly.
    """

    def __init__(self, endpoint: str, call: str, detail: str) -> None:
        super().__init__(
            f"It is unknown whether {call} at {endpoint} took effect: {detail}.",
            hint="Plan again: what the cluster has become is looked at first.",
        )
        self.detail = detail


class EtcdUnreachable(UnobservedError):
    """The call got no answer that says anything about the cluster, and it changed nothing."""

    def __init__(self, endpoint: str, call: str, detail: str) -> None:
        super().__init__(f"{endpoint} does not answer {call}: {detail}.")
        self.detail = detail
