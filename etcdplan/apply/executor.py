"""Apply is planning on reality, one step at a time.

Before each step: observe, unroll and prove again; the next step must belong to the approved plan. Then its effects,
each journalled before it happens; then observation, until what the step is for is seen.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count

from etcdplan.apply.approved import Approved
from etcdplan.apply.calls import Call, Caller
from etcdplan.apply.clock import Clock
from etcdplan.apply.dead_man import Heartbeats, armed, arms, holds, rolled_back, works
from etcdplan.apply.events import Event, Note, RunDone, RunStopped, StepDone, StepStarted, StepWaiting
from etcdplan.apply.journal import Journal
from etcdplan.apply.known_hosts import Known, everyone, outdated_records, still_known
from etcdplan.apply.lock import Lock
from etcdplan.apply.ready import LOOK, POLL, look, missing, only_adds, ready
from etcdplan.diff.target import Target
from etcdplan.errors import (
    EtcdplanError,
    OutcomeUnknownError,
    RefusedError,
    RolledBackError,
    StoppedError,
    UnobservedError,
)
from etcdplan.hosts.ports import Claim, Fenced, HostEffects, Hosts
from etcdplan.model.effects import AddLearner, ClusterEffect, Effect, MoveLeader, WriteSettings
from etcdplan.model.state import State, host_of
from etcdplan.observe.collect import PATIENCE
from etcdplan.planner.policy import propose
from etcdplan.planner.rules.cures import start_members
from etcdplan.planner.unroll import PlannedStep, unroll
from etcdplan.steps.base import Step
from etcdplan.transport.errors import EtcdRejected, EtcdUnreachable, Reason

CONNECTED_AFTER = 5.2
"""Seconds after a member's start before which servers refuse changes (etcd `HealthInterval`, five seconds)."""
VANISHED = 15.0
"""Seconds after which an effect that is no longer seen is planned again."""
ATTEMPTS = 4
"""How often a step may be begun in one run."""

_WORKS_AGAIN = 60.0
_AFTER_ROLLBACK = "Read its log on the host, correct the spec, then plan again."

_WAIT_FOR = {Reason.UNHEALTHY_CLUSTER, Reason.LEARNER_NOT_READY}
_SEEN_TO = {Reason.PEER_URL_EXISTS, Reason.MEMBER_ID_EXISTS, Reason.MEMBER_NOT_FOUND, Reason.NOT_A_LEARNER}
_LED_ELSEWHERE = {Reason.NOT_LEADER, Reason.BAD_TRANSFEREE}


@dataclass(slots=True)
class Executor:
    """One run, under its lock and with its journal. `stop` says whether to stop at the next checkpoint."""

    target: Target
    hosts: Hosts
    observe: Callable[[float], State]
    caller: Caller
    lock: Lock
    journal: Journal
    clock: Clock
    tell: Callable[[Event], None]
    heartbeats: Heartbeats
    stop: Callable[[], bool] = lambda: False
    total: int = 0
    done: int = 0
    _effects: int = 0
    _begun: dict[str, int] = field(default_factory=dict)
    _written: set[tuple[str, str]] = field(default_factory=set)
    """Host and unit of the settings that this run has written."""

    def run(self, approved: Approved) -> None:
        """Carry the approved plan out to its end.

        Raises `StoppedError`, `StaleError`, `RefusedError`, `UnobservedError`, `OutcomeUnknownError`, `RolledBackError`
        or `Fenced`; then the run has stopped at a checkpoint, or where the error says, and can be resumed.
        """
        began = self.clock.monotonic()
        try:
            state = self._steps(approved)
            self._remember(state, still_known(self.target, state))
        except EtcdplanError as error:
            final = self._taken_back(error)
            self._stopped(final.message)
            if final is error:
                raise
            raise final from error
        self.journal.run_ended(converged=True)
        self.tell(RunDone(self.done, self.clock.monotonic() - began))

    def _stopped(self, reason: str) -> None:
        try:
            self.journal.run_stopped(reason)
        except EtcdplanError as error:
            self.tell(Note(error.message))
        self.tell(RunStopped(reason, self.done, max(self.total - self.done, 0)))

    def _steps(self, approved: Approved) -> State:
        """Take one step after the other until nothing is left to do; return what is seen then."""
        seen: State | None = None
        begun = False
        while True:
            state = seen or self._ready()
            self._disarm(state)
            plan = unroll(self.target, state)
            if seen and not (plan.steps and only_adds(plan.steps[0].step, state)):
                seen = None
                continue
            # First, for a run that was taken over has nothing to say about what it sees.
            self.lock.check()
            for refusal in plan.refusals:
                raise _refused(refusal.message, refusal.remedy, refusal.exit_code)
            if not plan.steps:
                return state
            planned = plan.steps[0]
            approved.take(planned)
            if self.stop():
                raise StoppedError(
                    f"Stopped at a checkpoint, before '{planned.step.summary()}'.",
                    hint="Go on with: etcdplan apply --resume SPEC.",
                )
            answering = (host.address for host in state.hosts.values() if not host.unreachable)
            self.lock.spread({address: self.hosts.host(address).store for address in answering})
            if not begun:
                self._remember(state, everyone(self.target, state))
                begun = True
            self.total = max(self.total, self.done + len(plan.steps))
            seen = self._step(planned, state)
            if planned.step.kind.endswith("-member"):
                seen = seen or self._ready()
                self._remember(seen, everyone(self.target, seen))

    def _step(self, planned: PlannedStep, state: State) -> State | None:
        """Take a step; return what was seen when it was done, or None when something has happened since."""
        step, index = planned.step, self.done + 1
        began = self.clock.monotonic()
        times = self._begun.get(step.id, 0)
        if times >= ATTEMPTS:
            raise StoppedError(f"'{step.summary()}' was begun {times} times and does not hold.", hint=LOOK)
        self._begun[step.id] = times + 1
        self.journal.step_intent(step.id)
        self.tell(StepStarted(index, self.total, step.id, step.summary()))
        try:
            for effect in step.effects(state):
                if isinstance(effect, WriteSettings) and arms(state, effect):
                    self.heartbeats.begin(effect.host)
                    self._written.add((effect.host, effect.unit))
                self._effect(planned, effect, state, began)
                if isinstance(effect, ClusterEffect):
                    state = replace(state, leader=effect.apply(state).leader)
        except OutcomeUnknownError as error:
            self.tell(Note(f"{error.message} Looking at what became of it."))
        seen = self._verified(planned, began)
        if seen is None:
            return None
        disarmed = self._disarm(seen)
        self.journal.step_done(step.id)
        self.done += 1
        self.tell(StepDone(index, self.total, step.id, step.summary(), self.clock.monotonic() - began))
        return None if disarmed else seen

    def _effect(self, planned: PlannedStep, effect: Effect, state: State, began: float) -> None:
        if isinstance(effect, AddLearner):
            self._wait_connected(planned, state, began)
        while True:
            try:
                for call in self.caller.calls(effect, state):
                    self._call(call)
                return
            except EtcdRejected as rejected:
                if rejected.reason in _SEEN_TO | _LED_ELSEWHERE:
                    return
                if rejected.reason not in _WAIT_FOR:
                    raise StoppedError(rejected.message, hint=rejected.hint) from rejected
                self._waiting(planned, began, rejected.reason.value)
            except EtcdUnreachable as error:
                if isinstance(effect, MoveLeader):
                    return  # The others elect one when it is gone.
                raise OutcomeUnknownError(error.message) from error

    def _call(self, call: Call) -> None:
        self._effects += 1
        effect_id = f"{self.journal.run}-{self._effects:05d}"
        self.journal.effect_intent(effect_id, call.kind, f"{call.host}/{call.subject}")
        try:
            call.make(self.hosts.host(call.host).effects, Claim(self.lock.token, effect_id))
        except OutcomeUnknownError as error:
            self.journal.effect_result(effect_id, "unknown", error.message)
            raise
        except EtcdplanError as error:
            self.journal.effect_result(effect_id, "refused", error.message)
            raise
        self.journal.effect_result(effect_id, "done")

    def _verified(self, planned: PlannedStep, began: float) -> State | None:
        """Look until the step's target is there; None when its effect went away and it must be planned again."""
        gone_since: float | None = None
        looks_since = self.clock.monotonic()
        while True:
            state = look(self.observe, self.clock, looks_since, self.target.hosts())
            self._check_not_rolled_back(state)
            left = missing(planned.step, state)
            if left is None:
                return state
            unseen, what = left
            if unseen:
                gone_since = gone_since or self.clock.monotonic()
                if self.clock.monotonic() - gone_since > VANISHED:
                    return None
            else:
                gone_since = None
            for address in _failing(planned.step, state):
                raise StoppedError(
                    f"{address} ends again and again.",
                    hint="Read its log on the host. If the spec is to blame, correct it, then plan and apply it. "
                    f"Otherwise: {LOOK}",
                )
            self._waiting(planned, began, what)

    def _waiting(self, planned: PlannedStep, began: float, what: str) -> None:
        """Wait a moment within the step's deadline; raise `StoppedError` when that has passed, or `Fenced`."""
        step, elapsed = planned.step, self.clock.monotonic() - began
        if self.lock.fenced:
            raise self.lock.fenced
        if elapsed > step.deadline:
            raise StoppedError(f"'{step.summary()}' was not done after {elapsed:.0f} s: {what}.", hint=LOOK)
        self.journal.write()
        self.tell(StepWaiting(self.done + 1, self.total, step.summary(), what, elapsed))
        self.clock.sleep(POLL)

    def _wait_connected(self, planned: PlannedStep, state: State, began: float) -> None:
        """Wait until every member has been connected long enough; the server would only refuse until then."""
        membership = state.membership.get()
        hosts = (state.hosts.get(host_of(url)) for url in (membership.members if membership else ()))
        starts = [
            host.etcd.process.value.started for host in hosts if host is not None and host.etcd.process.value
        ]
        while starts and self.clock.time() - max(starts) < CONNECTED_AFTER:
            self._waiting(planned, began, "all members connected for five seconds")

    def _ready(self) -> State:
        """Return the observed state once it is settled; start what is down when the others wait in vain for each other.

        What runs may never serve: an etcd that lost its data under a running supervisor, say, is no help to anybody.
        """
        self.journal.write()
        try:
            return ready(self.observe, self.clock, self.target.hosts())
        except StoppedError:
            state = self.observe(PATIENCE)
            rule, step = propose(self.target, state)
            if rule is not start_members or not isinstance(step, Step) or step.restarts(state) or self.stop():
                raise
            self.lock.check()
            return self._step(PlannedStep(step, rule, 0, state, state), state) or self._ready()

    def _disarm(self, state: State) -> bool:
        """Let every change be that is seen to do its work; return whether there was one."""
        held = [unit for unit in armed(state) if holds(state, *unit)]
        for address, unit in held:
            self._call(Call(address, "disarm", unit, partial(_disarm, unit)))
        return bool(held)

    def _check_not_rolled_back(self, state: State) -> None:
        for (address, unit), why in rolled_back(state).items():
            if (address, unit) in self._written:
                raise RolledBackError(
                    f"{address} took the new settings of {unit} back. {why}", hint=_AFTER_ROLLBACK
                )

    def _taken_back(self, error: EtcdplanError) -> EtcdplanError:
        """Roll back what is not seen to work, and return the error to end with."""
        if isinstance(error, Fenced):
            return error
        try:
            self.lock.check()
        except Fenced as fenced:
            return fenced  # What it sees, and what is to become of it, is the other one's.
        except EtcdplanError:
            pass
        try:
            state = self.observe(PATIENCE)
            self._disarm(state)
            back = [unit for unit in armed(state) if not holds(state, *unit)]
            for address, unit in back:
                self._call(Call(address, "roll-back", unit, partial(_roll_back, unit, error.message)))
            if not isinstance(error, RolledBackError):
                self._check_not_rolled_back(state)
        except RolledBackError as seen:
            return seen
        except EtcdplanError as failed:
            self.tell(Note(f"{failed.message} What is not verified there, its host takes back by itself."))
            return error
        if not back:
            return error
        what = ", ".join(f"{unit} on {address}" for address, unit in back)
        well = "works again" if self._work_again(back) else f"does not work yet, after {_WORKS_AGAIN:.0f} s"
        return RolledBackError(
            f"{error.message} The former settings were put back, and what runs with them {well}: {what}.",
            hint=_AFTER_ROLLBACK,
        )

    def _work_again(self, units: list[tuple[str, str]]) -> bool:
        began = self.clock.monotonic()
        while self.clock.monotonic() - began < _WORKS_AGAIN:
            state = look(self.observe, self.clock, began, self.target.hosts())
            if all(works(state, *unit) for unit in units):
                return True
            self.clock.sleep(POLL)
        return False

    def _remember(self, state: State, known: Known) -> None:
        """Bring the records on the spec's hosts up to date, where a host has one."""
        for times in count(1):
            try:
                for outdated in outdated_records(self.target, state, known):
                    for call in self.caller.calls(outdated, state):
                        self._call(call)
                return
            except OutcomeUnknownError as error:
                if times == ATTEMPTS:
                    raise
                self.tell(Note(f"{error.message} Looking at what became of it."))
                state = self._ready()


def _disarm(unit: str, port: HostEffects, claim: Claim) -> None:
    port.disarm(claim, unit)


def _roll_back(unit: str, why: str, port: HostEffects, claim: Claim) -> None:
    port.roll_back(claim, unit, why)


def _refused(message: str, remedy: str, exit_code: int) -> EtcdplanError:
    return UnobservedError(message, hint=remedy) if exit_code == 8 else RefusedError(message, hint=remedy)


def _failing(step: Step, state: State) -> Iterator[str]:
    """Yield the unit that the step runs, when its supervisor has given up on it."""
    host = state.hosts.get(getattr(step, "host", ""))
    if host is not None and step.kind == "run-etcd" and host.etcd.failing:
        yield f"etcd on {host.address}"
    for name, unit in host.api_servers.items() if host is not None and step.kind == "run-apiserver" else ():
        if unit.failing and step.subject == f"apiserver/{name}":
            yield f"API server {name} on {host.address}" if host else name
