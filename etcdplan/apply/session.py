"""A run from its lock to its end: of an approved plan, or of the rest of one that another run left."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from etcdplan.apply.approved import Approved, groups_of, what_changed
from etcdplan.apply.calls import Caller, Hook, RestoreSource, Signer, TakesBackups
from etcdplan.apply.clock import Clock, stamp
from etcdplan.apply.dead_man import Heartbeats, armed
from etcdplan.apply.events import Event, Note, RunStarted
from etcdplan.apply.executor import Executor
from etcdplan.apply.heartbeat import Heartbeat
from etcdplan.apply.holder import Holder
from etcdplan.apply.journal import Appends, Journal, RunStart
from etcdplan.apply.lock import Lock, Waiting, acquire
from etcdplan.apply.ready import ready
from etcdplan.apply.runs import latest_run, prune
from etcdplan.diff.target import Target
from etcdplan.diff.view import View
from etcdplan.errors import RefusedError, StaleError, UnobservedError
from etcdplan.hosts.each import Each, in_turn
from etcdplan.hosts.job_files import PackedProgram
from etcdplan.hosts.ports import Hosts, HostStore
from etcdplan.model.state import Record, State, host_of
from etcdplan.observe.collect import PATIENCE
from etcdplan.observe.record import encode_record
from etcdplan.planner.document import PlanDocument, to_document
from etcdplan.planner.unroll import Plan, unroll


@dataclass(frozen=True, slots=True)
class Session:
    """Everything that a run needs of the outside.

    `observe` looks at everything, with a deadline a host in seconds. `beat` starts the lock's heartbeat in a thread.

    `runner` keeps the journal on this machine; `command` is what people see of the holder of the lock.
    """

    target: Target
    spec_digest: str
    hosts: Hosts
    observe: Callable[[float], State]
    signer: Signer | None
    runner: Appends
    holder: Holder
    clock: Clock
    tell: Callable[[Event], None]
    stop: Callable[[], bool] = lambda: False
    each: Each = in_turn
    beat: bool = True
    hook: Hook | None = None
    programs: Callable[[], Mapping[str, bytes]] | None = None
    """Returns the files of the archive that the spec takes etcd from, by name."""
    backups: RestoreSource | None = None
    """Where a restore has its snapshot from."""
    taker: TakesBackups | None = None
    """What takes the backup that a plan rests on."""
    packed: Callable[[tuple[str, ...]], PackedProgram] | None = None
    """Gives this very program, with some extras, for hosts that take backups by themselves."""

    def apply(self, approved: PlanDocument) -> int:
        """Carry out an approved plan and return the number of steps done.

        Raises `StaleError`, naming what changed, when reality asks for another plan now; and what `Executor.run` does.
        """
        if approved.spec_digest != self.spec_digest:
            raise StaleError(
                "The plan was made from another spec.", hint="Plan again, and approve the new plan."
            )
        state, plan, now = self._planned()
        if approved.refusals:
            raise (
                _refusal(plan)
                if plan.refusals
                else StaleError("The plan was refused when it was made.", hint=_AGAIN)
            )
        if not plan.steps and not plan.refusals and not approved.steps:
            ready(self.observe, self.clock, self.target.hosts())
            return 0
        with self._locked(state) as (lock, heartbeats):
            state, plan, now = self._planned()
            if now.digest != approved.digest:
                changed = what_changed(approved, now)
                raise StaleError(f"The plan is stale. Since it was made:\n{changed}", hint=_AGAIN)
            return self._run(lock, heartbeats, state, plan, approved.digest, groups_of(approved))

    def resume(self) -> int:
        """Finish the run that the hosts remember, and return the number of steps done.

        Raises `StaleError` when there is none, when it was of another spec, or when it does not lead to the end.
        """
        state, plan, _ = self._planned()
        if plan.refusals:
            raise _refusal(plan)
        run = latest_run(self._stores(state), each=self.each)
        if run is None or run.ended:
            if not plan.steps:
                return 0
            raise StaleError(
                "No unfinished run is left on the hosts, and there is something to do.", hint=_AGAIN
            )
        if run.start.spec_digest != self.spec_digest:
            raise StaleError("The unfinished run was of another spec.", hint=_AGAIN)
        for host, why in run.damaged.items():
            self.tell(Note(f"The journal on {host} is damaged and not used: {why}"))
        with self._locked(state, run.start.hosts) as (lock, heartbeats):
            newest = latest_run(self._stores(state), each=self.each)
            if newest is None or newest.ended or newest.start != run.start:
                raise StaleError("Another apply came between.", hint=_AGAIN)
            left = Approved(run.start.groups)
            for step in newest.begun:
                left.reach(step)
            state, plan, _ = self._planned()
            return self._run(lock, heartbeats, state, plan, run.start.plan_digest, left.groups)

    @contextmanager
    def locked(self) -> Iterator[tuple[Lock, State]]:
        """Hold the lock for something that no plan has; gives the settled state under it."""
        with self._locked(self.observe(PATIENCE)) as (lock, _):
            yield lock, ready(self.observe, self.clock, self.target.hosts())

    def _planned(self) -> tuple[State, Plan, PlanDocument]:
        state = self.observe(PATIENCE)
        plan = unroll(self.target, state)
        return state, plan, to_document(plan, self.spec_digest)

    def _run(
        self,
        lock: Lock,
        heartbeats: Heartbeats,
        state: State,
        plan: Plan,
        digest: str,
        groups: tuple[tuple[str, ...], ...],
    ) -> int:
        start = RunStart(
            self.target.cluster,
            lock.token,
            self.holder,
            digest,
            self.spec_digest,
            groups,
            self.target.hosts(),
        )
        mirrors = self._stores(state)
        journal = Journal.start(start, self.runner, mirrors, clock=self.clock, each=self.each)
        self.tell(RunStarted(start.run, self.target.cluster, len(plan.steps)))
        executor = Executor(
            target=self.target,
            hosts=self.hosts,
            observe=self.observe,
            caller=self._caller(),
            lock=lock,
            journal=journal,
            clock=self.clock,
            tell=self.tell,
            heartbeats=heartbeats,
            stop=self.stop,
            total=len(plan.steps),
        )
        executor.run(Approved(groups))
        prune(mirrors, each=self.each)
        return executor.done

    def _caller(self) -> Caller:
        return Caller(
            self.hosts,
            self.signer,
            self._encode,
            self.hook,
            self.programs,
            self.backups,
            self.taker,
            self.packed,
        )

    def _encode(self, record: Record) -> bytes:
        hosts = record.hosts or tuple(self.target.member_hosts)
        return encode_record(replace(record, hosts=hosts), written=stamp(self.clock))

    def _stores(self, state: State) -> dict[str, HostStore]:
        return {
            host.address: self.hosts.host(host.address).store
            for host in state.hosts.values()
            if not host.unreachable
        }

    @contextmanager
    def _locked(self, state: State, last_run: tuple[str, ...] = ()) -> Iterator[tuple[Lock, Heartbeats]]:
        """Hold the lock on a majority of the spec's hosts, of the members' and of those that were remembered.

        What another run has left armed is claimed at once, so that it is not taken back under this one.
        """
        membership = state.membership.value or state.last_seen
        members = {host_of(url) for url in (membership.members if membership else ())}
        remembered = {
            address
            for host in state.hosts.values()
            if host.record.value is not None
            for address in (*host.record.value.hosts, *host.record.value.servers)
        }
        view = View(self.target, state)
        spec = set(self.target.hosts())
        gone = {
            host.address
            for host in state.hosts.values()
            if host.unreachable and (host.address not in spec or view.absent_api_host(host.address))
        }
        sets = [hosts - gone for hosts in (spec, members, remembered, set(last_run)) if hosts - gone]
        with ExitStack() as stack:
            lock = stack.enter_context(
                acquire(
                    sets,
                    self._stores(state),
                    self.holder,
                    clock=self.clock,
                    gone=gone,
                    progress=self._waiting,
                    each=self.each,
                    reach=lambda host: self.hosts.host(host).store,
                )
            )
            for dead in lock.taken_over:
                self.tell(Note(f"Took the lock over from {dead}, which is dead."))
            if self.beat:
                stack.enter_context(Heartbeat(lock))
            heartbeats = stack.enter_context(Heartbeats(self.hosts, lock.token, on=self.beat))
            for address, _ in armed(state):
                heartbeats.begin(address)
            yield lock, heartbeats

    def _waiting(self, waiting: Waiting) -> None:
        self.tell(Note(f"Waiting for the lock: {waiting}"))


_AGAIN = "Plan again, and approve the new plan."


def _refusal(plan: Plan) -> RefusedError | UnobservedError:
    first = plan.refusals[0]
    kind = UnobservedError if first.exit_code == 8 else RefusedError
    return kind(first.message, hint=first.remedy)
