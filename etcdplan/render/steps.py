"""Steps as rows of a table: numbered, under the headings of their rules, what is small and alike in one row."""

from collections.abc import Sequence
from dataclasses import dataclass

from etcdplan.planner.document import QuorumEntry, StepEntry
from etcdplan.render.changes import certificates
from etcdplan.render.printable import counted


@dataclass(frozen=True, slots=True)
class Row:
    """One step, or several consecutive ones (`first` to `last`) that change nothing for the quorum."""

    first: int
    last: int
    text: str
    after: QuorumEntry
    destructive: bool
    restarts: tuple[str, ...]
    stops: bool
    reason: str

    @property
    def numbers(self) -> str:
        """Return `4` or `4-9`."""
        return f"{self.first}" if self.first == self.last else f"{self.first}-{self.last}"

    @property
    def standing(self) -> str:
        """Return the healthy voters of all after the step."""
        return f"{self.after.healthy}/{self.after.voters}"

    @property
    def can_lose(self) -> str:
        """Return how many more voters may fail after the step, and before that while it dips."""
        if not self.after.voters:
            return "-"
        left, after = self.after.tolerates_during, self.after.tolerates_after
        if self.after.dips:
            return f"{left if left >= 0 else 'none'}, then {after}"
        return f"{after}" if after >= 0 else "no quorum"

    @property
    def marks(self) -> str:
        """Return what a reader must not overlook."""
        if self.destructive:
            return "destructive"
        return "restart" if self.restarts else "stop" if self.stops else ""


@dataclass(frozen=True, slots=True)
class Group:
    """The rows of one rule that follow each other."""

    heading: str
    rows: tuple[Row, ...]


def groups(steps: Sequence[StepEntry], *, verbose: bool) -> list[Group]:
    """Return all steps; certificates, CA bundles and records that follow each other share a row by default."""
    found: list[tuple[tuple[str, int], list[Row]]] = []
    for first, last in _runs(steps, verbose=verbose):
        run = steps[first:last]
        row = Row(
            first + 1,
            last,
            run[0].summary if len(run) == 1 else _summary(run),
            run[-1].quorum,
            run[0].destructive,
            tuple(run[0].restarts),
            stops(run[0]),
            run[0].reason,
        )
        place = (run[0].heading, run[0].group)
        if not found or found[-1][0] != place:
            found.append((place, []))
        found[-1][1].append(row)
    return [Group(heading, tuple(rows)) for (heading, _), rows in found]


def _runs(steps: Sequence[StepEntry], *, verbose: bool) -> list[tuple[int, int]]:
    runs: list[tuple[int, int]] = []
    for index, step in enumerate(steps):
        if runs and not verbose and _alike(steps[runs[-1][0]], step):
            runs[-1] = (runs[-1][0], index + 1)
        else:
            runs.append((index, index + 1))
    return runs


def _alike(first: StepEntry, step: StepEntry) -> bool:
    small = step.kind in ("certificate", "trust", "seal-host", "install-etcd")
    same = (first.group, first.kind, first.quorum) == (step.group, step.kind, step.quorum)
    return small and same and not step.destructive and not step.restarts


def _summary(run: Sequence[StepEntry]) -> str:
    if run[0].kind == "certificate":
        return f"issue {len(run)} certificates: {certificates(step.subject for step in run)}"
    hosts = ", ".join(step.subject.partition("/")[2] for step in run)
    whats = {"trust": "install the CA certificate on", "install-etcd": "install etcd from the archive on"}
    what = whats.get(run[0].kind, "record the cluster on")
    return f"{what} {counted(len(run), 'host')}: {hosts}"


def stops(step: StepEntry) -> bool:
    """Whether a step leaves stopped, for the time being, what runs."""
    return step.kind == "stop-apiserver"
