"""Steps that change the member list, one member each. Members are addressed by peer URL, never by ID."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from etcdplan.model.effects import AddLearner, Effect, Promote, Remove
from etcdplan.model.state import State, host_of
from etcdplan.steps.base import Step, hand_over


@dataclass(frozen=True, slots=True)
class _MemberStep(Step):
    name: str
    peer_url: str

    @property
    def subject(self) -> str:
        """The member."""
        return f"member/{self.name}"

    def params(self) -> Mapping[str, Any]:
        """The member's peer URL."""
        return {"peerUrl": self.peer_url}


@dataclass(frozen=True, slots=True)
class AddMember(_MemberStep):
    """The member list has this member, as a learner at first.

    Servers refuse an addition until all peers have been connected for five seconds: the step waits for that.
    """

    kind = "add-member"
    deadline = 60

    def effects(self, state: State) -> tuple[Effect, ...]:
        """Add it unless it is listed."""
        membership = state.membership.get()
        listed = membership is not None and self.peer_url in membership.members
        return () if listed else (AddLearner(self.peer_url),)

    def summary(self) -> str:
        """Name the member and its peer URL."""
        return f"add {self.name} as a learner ({self.peer_url})"


@dataclass(frozen=True, slots=True)
class PromoteMember(_MemberStep):
    """The member votes. The step waits until the learner is in sync."""

    kind = "promote-member"
    deadline = 600

    def effects(self, state: State) -> tuple[Effect, ...]:
        """Promote it while it is a learner."""
        membership = state.membership.get()
        member = membership.members.get(self.peer_url) if membership else None
        return (Promote(self.peer_url),) if member is None or member.learner else ()

    def summary(self) -> str:
        """Name the member."""
        return f"promote {self.name} to a voter"


@dataclass(frozen=True, slots=True)
class RemoveMember(_MemberStep):
    """The member list does not have this member any more. A leader hands over first, if it can to one that `stays`."""

    kind = "remove-member"
    deadline = 60
    destructive = True

    stays: frozenset[str] = frozenset()

    def effects(self, state: State) -> tuple[Effect, ...]:
        """Remove it while it is listed."""
        membership = state.membership.get()
        if membership is None or self.peer_url not in membership.members:
            return ()
        return (*hand_over(state, self.peer_url, rather=self.stays), Remove(self.peer_url))

    def summary(self) -> str:
        """Name the member and where it is."""
        return f"remove {self.name} on {host_of(self.peer_url)} from the cluster"
