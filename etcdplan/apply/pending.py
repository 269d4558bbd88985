"""What applies have left on the hosts, or do there now: who holds the lock, and the run that is not finished."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from etcdplan.apply.holder import Holder, Life, life
from etcdplan.apply.journal import JournalDamaged
from etcdplan.apply.lock_file import seen_lock
from etcdplan.apply.runs import RunView, latest_run, stores_of
from etcdplan.hosts.each import Each, in_turn
from etcdplan.hosts.ports import Hosts, StoreReader
from etcdplan.model.state import State


@dataclass(frozen=True, slots=True)
class Held:
    """A lock that some host has. `life` is what this process can tell of its holder's."""

    holder: Holder
    acquired: str
    life: Life


@dataclass(frozen=True, slots=True)
class Pending:
    """The locks, the newest first, and the newest run, if it has not ended; `damaged` says why that is unknown."""

    locks: tuple[Held, ...] = ()
    run: RunView | None = None
    damaged: str = ""

    @property
    def under_way(self) -> bool:
        """Whether a holder of the lock may be alive."""
        return any(held.life is not Life.DEAD for held in self.locks)


def pending(
    hosts: Hosts,
    state: State,
    me: Holder,
    *,
    each: Each = in_turn,
    kept: Mapping[str, StoreReader] = MappingProxyType({}),
) -> Pending:
    """Read what the reachable hosts remember of applies; `me` is who looks. Changes nothing, and never waits.

    `kept` is what a look at these hosts has read of it already.
    """
    stores = stores_of(hosts, state, kept)
    locks = tuple(_held(stores, me, each))
    try:
        run = latest_run(stores, each=each)
    except JournalDamaged as error:
        return Pending(locks, None, error.message)
    return Pending(locks, None if run is None or run.ended else run)


def _held(stores: Mapping[str, StoreReader], me: Holder, each: Each) -> Iterator[Held]:
    found = [record for record in each(seen_lock, stores.values()) if record is not None and record.held]
    newest = {record.holder.id: record for record in sorted(found, key=lambda record: record.token)}
    for record in reversed(newest.values()):
        yield Held(record.holder, record.acquired, life(record.holder, me))
