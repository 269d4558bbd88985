"""Quorum arithmetic. Learners count nowhere (etcd FAQ: quorum is n/2+1 of the voters)."""

from dataclasses import dataclass

from etcdplan.model.state import Membership


@dataclass(frozen=True, slots=True)
class Quorum:
    """How a cluster stands: counts of voters."""

    voters: int
    healthy: int

    @property
    def needed(self) -> int:
        """The number of healthy voters without which nothing can be written."""
        return self.voters // 2 + 1

    @property
    def tolerates(self) -> int:
        """How many more voters may fail; negative when quorum is lost."""
        return self.healthy - self.needed

    @property
    def holds(self) -> bool:
        """Whether the cluster can write."""
        return self.healthy >= self.needed


def quorum(membership: Membership | None) -> Quorum:
    """Count the voters of a member list; no cluster has no voters."""
    if membership is None:
        return Quorum(0, 0)
    voters = list(membership.voters())
    return Quorum(len(voters), sum(member.serving for member in voters))


def tolerance(voters: int) -> int:
    """Return how many failures a cluster of that many healthy voters survives."""
    return (voters - 1) // 2
