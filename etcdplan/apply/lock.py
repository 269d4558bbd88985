"""The cluster's lock: a file on a majority of each of several sets of hosts, with a fencing token that only grows.

A lock inside the managed etcd would fail exactly when quorum is lost. This one excludes live holders and numbers them;
what makes a late effect of a dead or frozen one harmless is the token, which every host compares.
"""

import json
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from threading import Event, Thread
from types import TracebackType
from typing import Final, Literal, Self

from pydantic import TypeAdapter

from etcdplan.apply.clock import Clock, stamp
from etcdplan.apply.holder import Holder, Life, life
from etcdplan.errors import EtcdplanError, LockHeldError, UnobservedError
from etcdplan.hosts.each import Each, in_turn
from etcdplan.hosts.ports import Fenced, HostOutcomeUnknown, HostRefused, HostStore, HostUnreachable

LOCK_FILE: Final = "lock.json"
STALE_AFTER: Final = 30.0
"""Seconds without a new heartbeat, on the reader's clock, after which a holder elsewhere counts as dead."""

_GUARD_TIMEOUT: Final = 10.0
_BEAT_GUARD_TIMEOUT: Final = 3.0
_TRIES: Final = 3
"""How often a file is read again that changed between reading and writing: this holder's own heartbeat did it."""
_POLL: Final = 1.0
_SILENT: Final = (HostUnreachable, HostRefused, HostOutcomeUnknown)


@dataclass(frozen=True, slots=True)
class LockRecord:
    """The lock file of one host. `token` stays when the lock is released: it is the host's newest one.

    `heartbeat` counts; `heartbeat_time` is the holder's clock and only for people.
    """

    format: Literal[1]
    token: int
    held: bool
    holder: Holder
    acquired: str
    heartbeat: int
    heartbeat_time: str

    def encode(self) -> bytes:
        """Return the file's content."""
        return json.dumps(asdict(self)).encode() + b"\n"


_RECORD: Final = TypeAdapter(LockRecord)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A holder elsewhere is silent; it is taken over when it stays so. Seconds."""

    holder: Holder
    silent: float

    def __str__(self) -> str:
        return f"{self.holder} has been silent for {self.silent:.0f} s; after {STALE_AFTER:.0f} s it counts as dead"


@dataclass(frozen=True, slots=True)
class _Answer:
    raw: bytes | None
    record: LockRecord | None

    @property
    def held(self) -> LockRecord | None:
        return self.record if self.record is not None and self.record.held else None


def _read(store: HostStore) -> _Answer | EtcdplanError:
    try:
        raw = store.read(LOCK_FILE)
    except _SILENT as error:
        return error
    try:
        return _Answer(raw, None if raw is None else _RECORD.validate_json(raw, strict=True))
    except ValueError:
        return UnobservedError(f"{LOCK_FILE} is damaged or from a newer etcdplan")


def seen_lock(store: HostStore) -> LockRecord | None:
    """Return a host's lock, held or not; nothing for a host that has none, is silent, or whose file is damaged."""
    return answer.record if isinstance(answer := _read(store), _Answer) else None


class _Hosts:
    """The hosts that the lock is about, and how many of them are enough."""

    def __init__(
        self,
        sets: Sequence[Collection[str]],
        stores: Mapping[str, HostStore],
        gone: Collection[str],
        each: Each,
    ) -> None:
        self.sets = [left for hosts in sets if (left := frozenset(hosts) - frozenset(gone))]
        # Sorted: contenders meet at the same first host, so that one of them wins.
        self.stores = {host: stores[host] for host in sorted(stores) if host not in gone}
        self.each = each
        if not self.sets:
            raise UnobservedError("No host is left that could hold the lock.")

    def majority(self, hosts: Collection[str]) -> bool:
        return all(2 * len(members & frozenset(hosts)) > len(members) for members in self.sets)

    def ask(self) -> dict[str, _Answer]:
        """Read the lock file of every host; raise `UnobservedError` when too few answer."""
        replies = dict(zip(self.stores, self.each(_read, self.stores.values()), strict=True))
        answers = {host: reply for host, reply in replies.items() if isinstance(reply, _Answer)}
        if not self.majority(answers):
            raise self.too_few(
                {host: reply.message for host, reply in replies.items() if isinstance(reply, EtcdplanError)}
            )
        return answers

    def too_few(self, why: Mapping[str, str]) -> UnobservedError:
        wanted = sorted(frozenset[str]().union(*self.sets))
        lines = [
            f"{host}: {why.get(host, 'no access')}"
            for host in wanted
            if host in why or host not in self.stores
        ]
        return UnobservedError(
            "The lock needs a majority of the hosts, and too few can be used.\n" + "\n".join(lines),
            hint="Make these hosts reachable, or declare those gone that will not come back.",
        )


class Lock:
    """The lock, held. Leave it as a context manager, or call `release` in every path."""

    def __init__(
        self, hosts: _Hosts, record: LockRecord, clock: Clock, taken_over: tuple[Holder, ...]
    ) -> None:
        self._hosts = hosts
        self._record = record
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

    def beat(self) -> frozenset[str]:
        """Show on every host that this holder lives; return the hosts that have it now.

        A host that missed the acquisition gets the token, too. Raises `Fenced` when any host has a newer one; hosts
        that do not answer, or are busy with an effect, are left out.
        """
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

        Until then they would refuse every effect.
        """
        has_it = self._hosts.stores.keys() - self._without
        late = {host: store for host, store in stores.items() if host not in has_it}
        if late:
            self._hosts.stores = self._hosts.stores | late
            list(self._hosts.each(self._beat_on, late.values()))
        if self._fenced is not None:
            raise self._fenced

    def release(self) -> None:
        """Let others take the lock; the token stays. Hosts that do not answer keep the mark of a dead holder."""
        self._released = True
        list(self._hosts.each(self._release_on, self._hosts.stores.values()))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _take(self, store: HostStore, seen: _Answer) -> None:
        """Write the lock, when nothing changed since the file was read; raise `LockHeldError` when something did."""
        if not store.replace(LOCK_FILE, seen.raw, self._record.encode(), timeout=_GUARD_TIMEOUT):
            now = _read(store)
            who = f"{now.record.holder}" if isinstance(now, _Answer) and now.record else "Another apply"
            raise LockHeldError(f"{who} came for the lock at the same moment.", hint="Apply again later.")

    def _is_ours(self, answer: _Answer) -> bool:
        held = answer.held
        return held is not None and (held.token, held.holder) == (self.token, self.holder)

    def _compare(self, answer: _Answer) -> None:
        record = answer.record
        if record is not None and record.token > self.token:
            self._fenced = Fenced(
                f"The lock was taken over by {record.holder} at {record.acquired}; this apply must stop.",
                hint="Nothing more is changed here. Look at what the other apply did, then plan again.",
            )

    def _beat_on(self, store: HostStore) -> bool:
        try:
            for _ in range(_TRIES):
                answer = _read(store)
                if isinstance(answer, EtcdplanError):
                    return False
                self._compare(answer)
                if self._fenced is not None or self._released:
                    return False
                if store.replace(LOCK_FILE, answer.raw, self._record.encode(), timeout=_BEAT_GUARD_TIMEOUT):
                    return True
        except _SILENT:
            pass
        return False

    def _release_on(self, store: HostStore) -> None:
        try:
            for _ in range(_TRIES):
                answer = _read(store)
                if not isinstance(answer, _Answer) or not self._is_ours(answer):
                    return
                released = replace(self._record, held=False).encode()
                if store.replace(LOCK_FILE, answer.raw, released, timeout=_GUARD_TIMEOUT):
                    return
        except _SILENT:
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
) -> Lock:
    """Take the lock on all reachable hosts: at least on a majority of each set, hosts declared `gone` left out.

    `wait` (seconds) is only spent on a holder elsewhere that may be dead; `look` says of a holder whether it lives.
    Raises `LockHeldError` when another one holds the cluster, `UnobservedError` when too few hosts answer; then
    nothing is left behind.
    """
    hosts = _Hosts(sets, stores, gone, each)
    answers, dead = _wait_for_the_dead(hosts, holder, clock, wait, progress, look)
    now = stamp(clock)
    token = 1 + max(answer.record.token if answer.record else 0 for answer in answers.values())
    lock = Lock(hosts, LockRecord(1, token, True, holder, now, 0, now), clock, dead)
    try:
        _take_majority(lock, hosts, answers)
    except BaseException:
        lock.release()
        raise
    return lock


def _take_majority(lock: Lock, hosts: _Hosts, answers: Mapping[str, _Answer]) -> None:
    ours: set[str] = set()
    failed: dict[str, str] = {}
    for host, answer in answers.items():
        try:
            lock._take(hosts.stores[host], answer)
        except _SILENT as error:
            failed[host] = error.message
        else:
            ours.add(host)
    if not hosts.majority(ours):
        raise hosts.too_few(failed)


def _wait_for_the_dead(
    hosts: _Hosts,
    me: Holder,
    clock: Clock,
    wait: float,
    progress: Callable[[Waiting], None],
    look: Callable[[Holder, Holder], Life],
) -> tuple[dict[str, _Answer], tuple[Holder, ...]]:
    """Return the answers of the first reading in which nobody holds the lock but the dead, and these."""
    first_seen: dict[str, float] = {}
    beats: dict[tuple[str, str], int] = {}
    deadline = clock.monotonic() + wait
    while True:
        # Silence is counted from the end of the first reading to the start of the last: never too long.
        before = clock.monotonic()
        answers = hosts.ask()
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


class Heartbeat:
    """Beats in a thread while the context is open. When another holder came it stops; `Lock.check` then says so."""

    def __init__(self, lock: Lock, interval: float = 5.0) -> None:
        self._lock = lock
        self._interval = interval
        self._stop = Event()
        self._thread = Thread(target=self._run, name="heartbeat", daemon=True)

    @property
    def running(self) -> bool:
        """Whether it still beats."""
        return self._thread.is_alive()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(timeout=STALE_AFTER)

    def _run(self) -> None:
        while not self._stop.wait(self._interval):
            try:
                self._lock.beat()
            except Fenced:
                return
