"""The cluster's lock: a file on a majority of each of several sets of hosts, with a fencing token that only grows.

A lock inside the managed etcd would fail exactly when quorum is lost. This one excludes live holders and numbers them;
what makes a late effect of a dead or frozen one harmless is the token, which every host compares. etcd compares none:
whoever takes over ends the sessions through which its predecessor could call etcd, on every host that the lock names.
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from threading import RLock
from types import TracebackType
from typing import Final, Self

from etcdplan.apply.clock import Clock, stamp
from etcdplan.apply.holder import Holder, Life, life
from etcdplan.apply.lock_file import SILENT, Answer, LockHosts, LockRecord, read_lock
from etcdplan.errors import EtcdplanError, LockHeldError, UnobservedError
from etcdplan.hosts.each import Each, in_turn
from etcdplan.hosts.ports import LOCK_FILE, Fenced, HostRefused, HostStore

STALE_AFTER: Final = 30.0
"""Seconds without a new heartbeat, on the reader's clock, after which a holder elsewhere counts as dead."""

_GUARD_TIMEOUT: Final = 10.0
_BEAT_GUARD_TIMEOUT: Final = 3.0
_TRIES: Final = 3
"""How often a file is read again that changed between reading and writing: this holder's own heartbeat did it."""
_POLL: Final = 1.0


@dataclass(frozen=True, slots=True)
class Waiting:
    """A holder elsewhere is silent; it is taken over when it stays so. Seconds."""

    holder: Holder
    silent: float

    def __str__(self) -> str:
        return f"{self.holder} has been silent for {self.silent:.0f} s; after {STALE_AFTER:.0f} s it counts as dead"


class Lock:
    """The lock, held. Leave it as a context manager, or call `release` in every path."""

    def __init__(
        self,
        hosts: LockHosts,
        record: LockRecord,
        clock: Clock,
        taken_over: tuple[Holder, ...],
        named: frozenset[str],
    ) -> None:
        self._hosts = hosts
        self._record = record
        self._recording = RLock()
        self._named = named  # by former holders, whose sessions there are not known to have ended
        self._clock = clock
        self._released = False
        self._fenced: Fenced | None = None
        self._without: frozenset[str] = frozenset()
        self.taken_over: Final = taken_over
        """The dead holders whose lock this one replaced."""

    @property
    def token(self) -> int:
        """The fencing token; every effect shows it."""
        return self._record.token

    @property
    def holder(self) -> Holder:
        """Who holds it."""
        return self._record.holder

    @property
    def fenced(self) -> Fenced | None:
        """What was heard of another holder, if anything; nothing is asked."""
        return self._fenced

    def beat(self) -> frozenset[str]:
        """Show on every host that this holder lives; return the hosts that have it now.

        A host that missed the acquisition gets the token, too. Raises `Fenced` when any host has a newer one; hosts
        that do not answer, or are busy with an effect, are left out.
        """
        with self._recording:
            self._record = replace(
                self._record, heartbeat=self._record.heartbeat + 1, heartbeat_time=stamp(self._clock)
            )
        stores = self._hosts.stores
        done = dict(zip(stores, self._hosts.each(self._beat_on, stores.values()), strict=True))
        if self._fenced is not None:
            raise self._fenced
        return frozenset(host for host, beaten in done.items() if beaten)

    def check(self) -> None:
        """Raise `Fenced` when another holder came, `UnobservedError` when a majority does not confirm the lock."""
        answers = self._hosts.ask()
        for answer in answers.values():
            self._compare(answer)
        if self._fenced is not None:
            raise self._fenced
        self._without = frozenset(host for host, answer in answers.items() if not self._is_ours(answer))
        if not self._hosts.majority(answers.keys() - self._without):
            raise self._hosts.too_few(dict.fromkeys(self._without, "does not have our lock"))

    def spread(self, stores: Mapping[str, HostStore]) -> None:
        """Give the lock to hosts that answer now and did not have it at the last `check`; raise `Fenced` as that does.

        Until then they would refuse every effect. Whoever takes over looks for them in the lock, so that it names them
        on a majority of the others first (else `UnobservedError`).
        """
        has_it = self._hosts.stores.keys() - self._without
        late = {host: store for host, store in stores.items() if host not in has_it}
        if late.keys() - {*self._record.hosts}:
            with self._recording:
                self._record = replace(self._record, hosts=tuple(sorted({*self._record.hosts, *late})))
            if not self._hosts.majority(reached := self.beat()):
                silent = self._hosts.stores.keys() - reached
                raise self._hosts.too_few(dict.fromkeys(silent, "does not take our lock"))
        if late:
            self._hosts.stores = self._hosts.stores | late
            list(self._hosts.each(self._beat_on, late.values()))
        if self._fenced is not None:
            raise self._fenced

    def release(self) -> None:
        """Let others take the lock; the token stays. Hosts that do not answer keep the mark of a dead holder."""
        self._released = True
        list(self._hosts.each(self._release_on, self._hosts.stores.values()))

    def end_sessions(self) -> None:
        """End the sessions through which former holders could still call etcd; raise `UnobservedError`.

        To be called when the hosts have this lock: from then on they let no call of a former holder through.
        """

        def end(host: str) -> EtcdplanError | None:
            try:
                self._hosts.stores[host].end_sessions(self.token)
            except SILENT as error:
                return error
            return None

        named = sorted(self._named & self._hosts.stores.keys())
        failed = {
            host: error.message
            for host, error in zip(named, self._hosts.each(end, named), strict=True)
            if error
        }
        if failed:
            raise may_still_change(failed)
        self._named = frozenset()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _take(self, store: HostStore, seen: Answer) -> None:
        """Write the lock, when nothing changed since the file was read; raise `LockHeldError` when something did."""
        if not store.replace(LOCK_FILE, seen.raw, self._record.encode(), timeout=_GUARD_TIMEOUT):
            now = read_lock(store)
            who = f"{now.record.holder}" if isinstance(now, Answer) and now.record else "Another apply"
            raise LockHeldError(f"{who} came for the lock at the same moment.", hint="Apply again later.")

    def _is_ours(self, answer: Answer) -> bool:
        held = answer.held
        return held is not None and (held.token, held.holder) == (self.token, self.holder)

    def _compare(self, answer: Answer) -> None:
        record = answer.record
        if record is not None and record.token > self.token:
            self._fenced = Fenced(
                f"The lock was taken over by {record.holder} at {record.acquired}; this apply must stop.",
                hint="Nothing more is changed here. Look at what the other apply did, then plan again.",
            )

    def _beat_on(self, store: HostStore) -> bool:
        try:
            for _ in range(_TRIES):
                answer = read_lock(store)
                if isinstance(answer, EtcdplanError):
                    return False
                self._compare(answer)
                if self._fenced is not None or self._released:
                    return False
                if store.replace(LOCK_FILE, answer.raw, self._record.encode(), timeout=_BEAT_GUARD_TIMEOUT):
                    return True
        except SILENT:
            pass
        return False

    def _release_on(self, store: HostStore) -> None:
        try:
            for _ in range(_TRIES):
                answer = read_lock(store)
                if not isinstance(answer, Answer) or not self._is_ours(answer):
                    return
                released = replace(self._record, held=False, hosts=tuple(sorted(self._named))).encode()
                if store.replace(LOCK_FILE, answer.raw, released, timeout=_GUARD_TIMEOUT):
                    return
        except SILENT:
            pass


def acquire(
    sets: Sequence[Collection[str]],
    stores: Mapping[str, HostStore],
    holder: Holder,
    *,
    clock: Clock = time,
    gone: Collection[str] = (),
    wait: float = 35.0,
    progress: Callable[[Waiting], None] = lambda _: None,
    each: Each = in_turn,
    look: Callable[[Holder, Holder], Life] = life,
    reach: Callable[[str], HostStore] | None = None,
) -> Lock:
    """Take the lock on all reachable hosts: at least on a majority of each set, hosts declared `gone` left out.

    `wait` (seconds) is only spent on a holder elsewhere that may be dead; `look` says of a holder whether it lives.
    `reach` gives the stores of hosts that only a former holder's lock names. Raises `LockHeldError` when another one
    holds the cluster, `UnobservedError` when too few hosts answer, or one that a former holder may still change the
    cluster through does not; then nothing is left behind.
    """
    hosts = LockHosts(sets, stores, gone, each, reach)
    answers, dead = _wait_for_the_dead(hosts, holder, clock, wait, progress, look)
    named = hosts.named(answers)
    if unheard := hosts.unheard(named, answers):
        raise may_still_change(dict.fromkeys(unheard, "does not answer"))
    now = stamp(clock)
    token = 1 + max(answer.record.token if answer.record else 0 for answer in answers.values())
    record = LockRecord(1, token, True, holder, now, 0, now, tuple(hosts.stores))
    lock = Lock(hosts, record, clock, dead, named)
    try:
        _take_majority(lock, hosts, answers, named)
        lock.end_sessions()
    except BaseException:
        lock.release()
        raise
    return lock


def _take_majority(
    lock: Lock, hosts: LockHosts, answers: Mapping[str, Answer], named: Collection[str]
) -> None:
    ours: set[str] = set()
    failed: dict[str, str] = {}
    hint = ""
    for host, answer in answers.items():
        try:
            lock._take(hosts.stores[host], answer)
        except SILENT as error:
            failed[host] = error.message
            if isinstance(error, HostRefused):  # it answers: neither unreachable nor gone
                hint = hint or error.hint
        else:
            ours.add(host)
    if not hosts.majority(ours):
        raise hosts.too_few(failed, hint)
    if unheard := hosts.unheard(named, ours):
        raise may_still_change({host: failed[host] for host in unheard})


def may_still_change(hosts: Mapping[str, str]) -> UnobservedError:
    """Return the error for hosts through which a former holder may still call etcd, each with what is wrong there."""
    lines = "".join(f"\n{host}: {why}" for host, why in sorted(hosts.items()))
    return UnobservedError(
        "The lock was held by an apply that did not release it. It may be frozen, and change the cluster through"
        f" its connections when it goes on; they cannot be ended on:{lines}",
        hint="Make these hosts reachable, or leave those out of the spec that will not come back.",
    )


def _wait_for_the_dead(
    hosts: LockHosts,
    me: Holder,
    clock: Clock,
    wait: float,
    progress: Callable[[Waiting], None],
    look: Callable[[Holder, Holder], Life],
) -> tuple[dict[str, Answer], tuple[Holder, ...]]:
    """Return the answers of the first reading in which nobody holds the lock but the dead, and these."""
    first_seen: dict[str, float] = {}
    beats: dict[tuple[str, str], int] = {}
    deadline = clock.monotonic() + wait
    while True:
        # Silence is counted from the end of the first reading to the start of the last: never too long.
        before = clock.monotonic()
        answers = hosts.ask_named()
        after = clock.monotonic()
        dead: dict[str, Holder] = {}
        silent: list[tuple[float, LockRecord]] = []
        for host, answer in answers.items():
            if (record := answer.held) is None:
                continue
            who = record.holder
            match look(who, me):
                case Life.DEAD:
                    dead[who.id] = who
                    continue
                case Life.RUNNING | Life.FROZEN as state:
                    raise _held(record, frozen=state is Life.FROZEN)
                case Life.ELSEWHERE:
                    pass
            if beats.setdefault((host, who.id), record.heartbeat) != record.heartbeat:
                raise _held(record)
            silence = before - first_seen.setdefault(who.id, after)
            if silence >= STALE_AFTER:
                dead[who.id] = who
            else:
                silent.append((max(silence, 0.0), record))
        if not silent:
            return answers, tuple(dead.values())
        shortest, record = min(silent, key=lambda found: found[0])
        if after >= deadline:
            raise _held(record, silence=shortest)
        progress(Waiting(record.holder, shortest))
        clock.sleep(min(_POLL, deadline - after))


def _held(record: LockRecord, *, frozen: bool = False, silence: float | None = None) -> LockHeldError:
    who = record.holder
    message = f"The cluster is locked by {who} since {record.acquired}."
    hint = (
        f"Wait until that apply has ended. If it hangs, end process {who.pid} on {who.host}; the lock of a dead "
        "holder is taken over without further ado."
    )
    if frozen:
        message += " The process is stopped (SIGSTOP); a stopped holder is not taken over."
        hint = f"Let it go on with `kill -CONT {who.pid}`, or end it with `kill -KILL {who.pid}` and apply again."
    if silence is not None:
        message += f" No heartbeat for {silence:.0f} s; after {STALE_AFTER:.0f} s it counts as dead."
        hint = "Apply again and wait longer. " + hint
    return LockHeldError(message, hint=hint)
