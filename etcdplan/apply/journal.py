"""The journal of a run: JSON lines in a hash chain, on the runner and on the managed hosts.

It is audit, and binds a resumed run to what was approved. What to do next comes from looking at the cluster, never
from here. A line is on disk everywhere before the effect that it announces. What only tells that something went well is
written together with the next announcement, or when there is time (`write`).
"""

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal, Protocol, Self

from etcdplan.apply.clock import Clock, stamp
from etcdplan.apply.holder import Holder
from etcdplan.errors import EtcdplanError, StoppedError
from etcdplan.hosts.each import Each, in_turn
from etcdplan.hosts.ports import JOURNAL_DIR, HostOutcomeUnknown, HostRefused, HostUnreachable

_FIELDS: Final = ["seq", "time", "type", "body", "previous", "hash"]
_FIRST: Final = "0" * 64


class JournalDamaged(EtcdplanError):
    """A line of a journal is not what was written."""


class Appends(Protocol):
    """The part of a `HostStore` that a journal writes to."""

    def append(self, name: str, content: bytes) -> None:
        """Append to a file and sync it."""
        ...


@dataclass(frozen=True, slots=True)
class RunStart:
    """What a run begins with. `groups` is the approved plan: step IDs, in the order of their groups.

    `hosts` are the hosts of the run's spec; the next run must lock a majority of them, too.
    """

    cluster: str
    token: int
    holder: Holder
    plan_digest: str
    spec_digest: str
    groups: tuple[tuple[str, ...], ...]
    hosts: tuple[str, ...]

    @property
    def run(self) -> str:
        """The run's ID; sorted, the newest is the last."""
        return f"{self.token:08d}-{self.holder.id}"


@dataclass(frozen=True, slots=True)
class Record:
    """One line. `previous` is the hash of the line before; `hash` covers all other fields."""

    seq: int
    time: str
    type: str
    body: Mapping[str, object]
    previous: str
    hash: str


@dataclass(frozen=True, slots=True)
class JournalView:
    """What can be read of a journal; `torn`: its last line was cut by a crash, and does not count."""

    records: tuple[Record, ...]
    torn: bool


class Journal:
    """Writes one run's journal."""

    def __init__(
        self,
        run: str,
        cluster: str,
        runner: Appends,
        mirrors: Mapping[str, Appends],
        *,
        clock: Clock,
        each: Each = in_turn,
    ) -> None:
        self.run: Final = run
        self._cluster = cluster
        self._runner = runner
        self._mirrors = dict(mirrors)
        self._majority = len(mirrors) // 2 + 1 if mirrors else 0
        self._clock = clock
        self._each = each
        self._seq = 0
        self._previous = _FIRST
        self._unwritten = b""
        self._failure: StoppedError | None = None

    @classmethod
    def start(
        cls,
        start: RunStart,
        runner: Appends,
        mirrors: Mapping[str, Appends],
        *,
        clock: Clock,
        each: Each = in_turn,
    ) -> Self:
        """Open the journal of a new run.

        As every method that writes, raises `StoppedError` when the lines are not on the runner and on a majority of the
        mirrors; then nothing more can be written. A smaller loss is noted in the journal.
        """
        journal = cls(start.run, start.cluster, runner, mirrors, clock=clock, each=each)
        journal._append("run-started", asdict(start))
        return journal

    @property
    def mirrors(self) -> tuple[str, ...]:
        """The hosts that still get every line."""
        return tuple(self._mirrors)

    def step_intent(self, step: str) -> None:
        """Say that a step begins; written with its first effect, for before that nothing has begun."""
        self._add("step-intent", {"step": step})

    def effect_intent(self, effect_id: str, kind: str, subject: str) -> None:
        """Say that an effect comes next, and write it."""
        self._append("effect-intent", {"effect": effect_id, "kind": kind, "subject": subject})

    def effect_result(
        self, effect_id: str, outcome: Literal["done", "refused", "unknown"], detail: str = ""
    ) -> None:
        """Say what came of an effect, and write it unless all went well; `detail` is for people and holds no secret."""
        self._add("effect-result", {"effect": effect_id, "outcome": outcome, "detail": detail})
        if outcome != "done":
            self.write()

    def step_done(self, step: str) -> None:
        """Say that a step was verified."""
        self._add("step-done", {"step": step})

    def run_stopped(self, reason: str) -> None:
        """Say that the run stopped and can be resumed."""
        self._append("run-stopped", {"reason": reason})

    def run_ended(self, *, converged: bool) -> None:
        """Say that nothing of the run is left to do."""
        self._append("run-ended", {"converged": converged})

    def write(self) -> None:
        """Write what has been said and not written yet."""
        lines, self._unwritten = self._unwritten, b""
        if not lines:
            return
        try:
            self._runner.append(f"{self._cluster}/{self.run}.jsonl", lines)
        except OSError as error:
            raise self._fail(f"this machine: {error.strerror}") from error
        lost = self._mirror(lines)
        if len(self._mirrors) < self._majority:
            raise self._fail("; ".join(f"{host}: {why}" for host, why in lost.items()))
        for host, why in lost.items():
            self._append("mirror-lost", {"host": host, "reason": why})

    def _append(self, kind: str, body: Mapping[str, object]) -> None:
        self._add(kind, body)
        self.write()

    def _add(self, kind: str, body: Mapping[str, object]) -> None:
        if self._failure is not None:
            # A line after one that was cut would break the chain.
            raise self._failure
        fields = {
            "seq": self._seq,
            "time": stamp(self._clock),
            "type": kind,
            "body": body,
            "previous": self._previous,
        }
        digest = _hash(fields)
        self._unwritten += _encode(fields | {"hash": digest}) + b"\n"
        self._seq += 1
        self._previous = digest

    def _mirror(self, lines: bytes) -> dict[str, str]:
        """Write to all mirrors; drop those that fail for good, for their last line may be cut."""

        def write(host: str) -> str | None:
            try:
                self._mirrors[host].append(f"{JOURNAL_DIR}/{self.run}.jsonl", lines)
            except (HostUnreachable, HostRefused, HostOutcomeUnknown) as error:
                return error.message
            return None

        hosts = list(self._mirrors)
        results = zip(hosts, self._each(write, hosts), strict=True)
        lost = {host: why for host, why in results if why is not None}
        for host in lost:
            del self._mirrors[host]
        return lost

    def _fail(self, why: str) -> StoppedError:
        self._failure = StoppedError(
            f"The journal can no longer be written ({why}).",
            hint="Nothing is done that is not in the journal. Mend this, then apply again with --resume.",
        )
        return self._failure


class RunnerFiles:
    """The journals on the machine where apply runs: `<directory>/<cluster>/<run>.jsonl`, for their owner alone."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    @classmethod
    def home(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Return the user's: below `$XDG_STATE_HOME`, or `~/.local/state` (a relative path does not count)."""
        state = Path(environ.get("XDG_STATE_HOME", ""))
        if not state.is_absolute():
            state = Path.home() / ".local" / "state"
        return cls(state / "etcdplan" / "journal")

    def append(self, name: str, content: bytes) -> None:
        """Append to a file and sync it, and its directory when it is new; raise `OSError`."""
        path = self._directory / name
        _make_private(path.parent)
        new = not path.exists()
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if new:
            _sync(path.parent)

    def forget(self, cluster: str, hosts: Callable[[str], bool]) -> None:
        """Remove the journals of a cluster that had none but these hosts and is no more; others of its name stay.

        What cannot be read or removed stays, too.
        """
        for path in (self._directory / cluster).glob("*.jsonl"):
            with suppress(OSError, JournalDamaged):
                first = read_journal(path.read_bytes()).records[:1]
                named = first[0].body.get("hosts") if first else None
                if isinstance(named, list) and named and all(hosts(f"{host}") for host in named):
                    path.unlink()
        with suppress(OSError):
            (self._directory / cluster).rmdir()  # while others are in it, this does nothing

    def newest(self, cluster: str) -> bytes:
        """Return the journal of the newest run on a cluster of that name; empty when there is none to be read."""
        try:
            last = max((self._directory / cluster).glob("*.jsonl"), key=lambda path: path.stat().st_mtime)
            return last.read_bytes()
        except (OSError, ValueError):
            return b""


def read_journal(content: bytes) -> JournalView:
    """Read a journal; raise `JournalDamaged`, naming the line, when it is not what was written.

    A last line without its end was never finished, so nothing happened after it: it is left out.
    """
    *lines, rest = content.split(b"\n")
    records: list[Record] = []
    for number, line in enumerate(lines, 1):
        record = _decode(line)
        previous = records[-1].hash if records else _FIRST
        if record is None:
            raise JournalDamaged(f"Line {number} of the journal is damaged.")
        if (record.seq, record.previous) != (number - 1, previous):
            raise JournalDamaged(f"Line {number} of the journal does not follow what is before it.")
        records.append(record)
    return JournalView(tuple(records), torn=bool(rest))


def _decode(line: bytes) -> Record | None:
    try:
        fields = json.loads(line)
        if not isinstance(fields, dict) or list(fields) != _FIELDS or _encode(fields) != line:
            return None
        given = fields.pop("hash")
        if _hash(fields) != given or not isinstance(fields["body"], dict):
            return None
    except (ValueError, RecursionError):
        return None
    return Record(**fields, hash=given)


def _hash(fields: Mapping[str, object]) -> str:
    return hashlib.sha256(_encode(fields)).hexdigest()


def _encode(fields: Mapping[str, object]) -> bytes:
    # Only what JSON knows: bytes, Secrets and other objects raise TypeError.
    return json.dumps(fields, separators=(",", ":"), allow_nan=False).encode()


def _make_private(directory: Path) -> None:
    missing: Sequence[Path] = [path for path in (directory, *directory.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(mode=0o700, exist_ok=True)
        _sync(path.parent)


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
