"""Whether the spec changed since the last apply, or the cluster did: the hosts' journals say which spec that was."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

from etcdplan.apply.journal import JournalDamaged
from etcdplan.apply.runs import latest_run, stores_of
from etcdplan.hosts.each import Each, in_turn
from etcdplan.hosts.ports import Hosts, StoreReader
from etcdplan.model.state import State


class Since(Enum):
    """Where differences come from."""

    CLUSTER = "cluster"
    """The spec is the one that was applied last, to its end: what differs has drifted."""
    SPEC = "spec"
    """The spec is another one; the cluster may have drifted as well."""
    UNFINISHED = "unfinished"
    """The newest apply has not ended: what differs may be what it left."""
    UNKNOWN = "unknown"
    """No host that answers remembers an apply, or none of them says so credibly."""


@dataclass(frozen=True, slots=True)
class LastApplied:
    """What the newest run that the hosts remember says of differences; `run` and `begun` are empty without one."""

    since: Since
    run: str = ""
    begun: str = ""


def last_applied(
    hosts: Hosts,
    state: State,
    spec_digest: str,
    *,
    each: Each = in_turn,
    kept: Mapping[str, StoreReader] = MappingProxyType({}),
) -> LastApplied:
    """Read what the reachable hosts remember, and compare it with a spec. Changes nothing.

    `kept` is what a look at these hosts has read of it already.
    """
    try:
        run = latest_run(stores_of(hosts, state, kept), each=each)
    except JournalDamaged:
        run = None
    if run is None:
        return LastApplied(Since.UNKNOWN)
    same = run.start.spec_digest == spec_digest
    since = Since.UNFINISHED if not run.ended else Since.CLUSTER if same else Since.SPEC
    return LastApplied(since, run.start.run, run.records[0].time)
