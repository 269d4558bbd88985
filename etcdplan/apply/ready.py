"""Looking until a step is done, and until all that heals by itself has healed."""

from collections.abc import Callable, Collection, Iterator

from etcdplan.apply.clock import Clock
from etcdplan.apply.dead_man import arms
from etcdplan.errors import StoppedError
from etcdplan.model.effects import (
    InstallProgram,
    InstallTrust,
    IssueLeaf,
    Start,
    WriteRecord,
    WriteSettings,
)
from etcdplan.model.facts import UnknownFact
from etcdplan.model.settle import COMES_UP, settle
from etcdplan.model.state import State
from etcdplan.observe.collect import PATIENCE
from etcdplan.steps.base import Step

GLANCE = 1.0
"""Seconds that a host may take to answer a look that is soon repeated."""
POLL = 0.1
"""Seconds between two looks."""
_ADDING = (InstallProgram, InstallTrust, IssueLeaf, Start, WriteRecord, WriteSettings)
LOOK = "Look at the cluster, mend the cause, then go on with: etcdplan apply --resume SPEC."


def look(observe: Callable[[float], State], clock: Clock, since: float, rests_on: Collection[str]) -> State:
    """Observe; whoever has not answered glances for a while is given more time, and then counts as hung.

    A host that everything rests on and that was too slow for a glance is given that time at once.
    """
    if clock.monotonic() - since < PATIENCE:
        state = observe(GLANCE)
        if not any(state.hosts[host].unreachable for host in rests_on if host in state.hosts):
            return state
    return observe(PATIENCE)


def ready(observe: Callable[[float], State], clock: Clock, rests_on: Collection[str]) -> State:
    """Return the observed state once it is settled; hung processes are not waited for. Raises `StoppedError`."""
    began = clock.monotonic()
    while True:
        state = look(observe, clock, began, rests_on)
        settled = settle(state)
        if settled == state:
            return state
        if clock.monotonic() - began > COMES_UP:
            what = ", ".join(unsettled(state, settled))
            raise StoppedError(f"Waited {COMES_UP} s in vain for {what}.", hint=LOOK)
        clock.sleep(POLL)


def missing(step: Step, state: State) -> tuple[bool, str] | None:
    """Return whether the step's effect itself is not seen, and what is missing; None when the step is done."""
    try:
        left = step.effects(state)
    except UnknownFact as fact:
        return True, str(fact)
    if left:
        return True, "its effect to be seen"
    settled = settle(state)
    return None if settled == state else (False, ", ".join(unsettled(state, settled)))


def only_adds(step: Step, state: State) -> bool:
    """Whether a step only adds what is missing: certificates, records, settings of what does not run, and its start.

    Before such a step it is enough to have looked after the effects of the one before; what came meanwhile is seen when
    it is verified. Whatever stops, removes or replaces something is begun upon a look of its own.
    """
    return not step.destructive and all(
        isinstance(effect, _ADDING) and not (isinstance(effect, WriteSettings) and arms(state, effect))
        for effect in step.effects(state)
    )


def unsettled(state: State, settled: State) -> Iterator[str]:
    """Name what time has still to heal."""
    now, later = state.membership.value, settled.membership.value
    if later is not None:
        for url, member in later.members.items():
            if now is None or now.members.get(url) != member:
                yield f"{member.name or url} to serve"
    for address, host in settled.hosts.items():
        for name, unit in host.api_servers.items():
            if unit != state.hosts[address].api_servers.get(name):
                yield f"API server {name} to be ready"
        if host.etcd != state.hosts[address].etcd:
            yield f"etcd on {address} to answer"
