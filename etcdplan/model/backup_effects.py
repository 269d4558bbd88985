"""What changes outside of the cluster and its hosts: there is one more backup."""

from dataclasses import dataclass, replace

from etcdplan.model.backups import Backup, Store
from etcdplan.model.effects import Effect, ImpossibleEffect
from etcdplan.model.facts import known
from etcdplan.model.state import State


@dataclass(frozen=True, slots=True)
class TakeBackup(Effect):
    """Have a member's snapshot at the destinations, as the spec's policy says; `verified` is how far it is proven."""

    cluster_id: int
    destinations: tuple[str, ...]
    verified: str

    def apply(self, state: State) -> State:
        """Every destination has it; a destination that does not take it is told of, and one that does is enough."""
        membership = state.membership.get()
        if membership is None or not any(voter.serving for voter in membership.voters()):
            raise ImpossibleEffect("no voter serves that could give a snapshot")
        taken = Backup("", self.cluster_id, state.now, 0, 0, self.verified)
        stores = dict(state.backups)
        for place in self.destinations:
            fact = stores.get(place)
            had = (fact.value if fact else None) or Store()
            stores[place] = known(Store((taken, *had.backups), (taken.time, *had.times)))
        return replace(state, backups=stores)
