"""Every boundary of every scenario, each in a run of its own: SIGKILL there, one `apply --resume`, and the judgement.

    python -m tests.evidence.crash_matrix [--out FILE] [--progress FILE] [--every N] [SCENARIO…]

An undisturbed run gives the boundaries: before and after each effect, and in the middle of each line of the journal, by
turns in each of its copies (the runner's and the hosts'). A run that went on where another one's results are in the
progress file does not repeat them.
"""

import argparse
import json
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path

from etcdplan.errors import EtcdplanError
from tests.evidence.bench import BOOTSTRAP, REPLACEMENT, SCALE_DOWN, SCALE_UP, SCENARIOS, Bench, header, write
from tests.support.cli import Lab
from tests.support.crashes import torn

PHASES = ("before", "after", "torn")
MISSED = "the boundary was not reached"
"""By a run that had less to do than the one that the boundaries were taken from: fewer records to bring up to date."""


@dataclass(frozen=True)
class Trial:
    """One run: where it died, and what was wrong in the end, if anything."""

    scenario: str
    boundary: str
    effect: str
    problem: str
    seconds: float


def boundaries(bench: Bench, scenario: str) -> list[str]:
    """Run a scenario undisturbed and return all of its boundaries."""
    log = bench.lab.directory / "boundaries"
    log.unlink(missing_ok=True)
    bench.run_undisturbed(scenario, env={"ETCDPLAN_TEST_BUILD": "1", "ETCDPLAN_FAILPOINT_LOG": str(log)})
    words = [line.split() for line in log.read_text().splitlines()]
    places = [each[-1] for each in words if each[0].startswith("journal:")]
    copies = len(set(places))
    assert len(places) % copies == 0, f"{len(places)} appends to {copies} copies"
    lines = [torn(line, copies) for line in range(1, len(places) // copies + 1)]
    return [name for name, *_ in words if name.startswith("effect:")] + lines


def trial(bench: Bench, scenario: str, boundary: str) -> Trial:
    """Let apply die at one boundary and finish it with one resume."""
    began, problem, effect = time.monotonic(), "", ""
    try:
        with bench.judged(scenario) as crashes:
            assert crashes.run(boundary), MISSED
            effect = crashes.kills[-1].label.split()[0]
            crashes.finish()
    except (AssertionError, EtcdplanError) as error:
        problem = str(error)
    return Trial(scenario, boundary, effect, problem, time.monotonic() - began)


class Matrix:
    """All trials so far, kept in a file."""

    def __init__(self, bench: Bench, progress: Path, every: int) -> None:
        self._bench = bench
        self._every = every
        self._progress = progress
        text = progress.read_text() if progress.exists() else ""
        self.trials = [Trial(**json.loads(line)) for line in text.splitlines()]
        self.found: dict[str, list[str]] = {}

    def left(self, scenario: str) -> list[str]:
        """Return the boundaries of a scenario that were not tried yet."""
        self.found[scenario] = boundaries(self._bench, scenario)
        done = {one.boundary for one in self.trials if one.scenario == scenario}
        return [name for name in self.found[scenario][:: self._every] if name not in done]

    def run(self, scenario: str, boundary: str | None) -> None:
        """Try a boundary; without one, only go through the scenario."""
        if boundary is None:
            self._bench.run_undisturbed(scenario)
            return
        done = trial(self._bench, scenario, boundary)
        self.trials.append(done)
        with self._progress.open("a") as file:
            file.write(json.dumps(asdict(done)) + "\n")
        print(
            f"{scenario}: {boundary} ({done.effect}) {done.problem or 'ok'} {done.seconds:.1f} s", flush=True
        )
        if done.problem:
            self._bench.renew(scenario)

    def table(self) -> str:
        """Return the table of all trials."""
        lines = [
            "| scenario | phase | boundaries | tried | same end | not reached | failed |",
            "|---|---|---:|---:|---:|---:|---:|",
        ]
        for scenario, names in self.found.items():
            for phase in PHASES:
                wanted = {name for name in names if name.endswith(phase)}
                tried = [one for one in self.trials if one.scenario == scenario and one.boundary in wanted]
                missed = sum(one.problem == MISSED for one in tried)
                failed = sum(bool(one.problem) for one in tried) - missed
                counts = (len(wanted), len(tried), len(tried) - failed - missed, missed, failed)
                lines.append(f"| {scenario} | {phase} | {' | '.join(map(str, counts))} |")
        return "\n".join(lines)

    def effects(self) -> str:
        """Return how often apply died at which effect."""
        lines = ["| effect | before | after |", "|---|---:|---:|"]
        counts = Counter((one.effect, one.boundary.rpartition(":")[2]) for one in self.trials)
        effects = sorted({effect for effect, phase in counts if phase != "torn"})
        lines += [
            f"| `{effect}` | {counts[effect, 'before']} | {counts[effect, 'after']} |" for effect in effects
        ]
        return "\n".join(lines)

    def failures(self) -> str:
        """Return what went wrong, in full."""
        failed = [one for one in self.trials if one.problem and one.problem != MISSED]
        lines = [f"- {one.scenario}, `{one.boundary}` ({one.effect}): {one.problem}" for one in failed]
        return "\n".join(lines) or "None."


WHAT = """\
`apply` on real etcd processes with TLS is killed with SIGKILL at every boundary that an undisturbed run passes, each
in a run of its own, and finished by one `apply --resume` from an empty directory. (A run that died before the first
line of any journal was whole had no effect; it is begun again.) Phases: *before* an effect; *after* it, and before its
result is in the journal; *torn*, in the middle of each line of the journal, by turns in each of its copies. Three
writers write all the while. The same lab goes from one run to the next: a bootstrap begins with a new one, a
replacement breaks a member again, scaling up gets new spare hosts.

Judged after each run: right after the kill, what is seen is one of the states that the plan's step declares
(`stages`). In the end, members, settings on disk and of the processes, certificates, records, every file and its mode
are as after an undisturbed run; etcd's own logs tell of the same additions, removals and promotions; no process was
started, stopped or held and no data set aside once more; every journal on every host can be read; no acknowledged
write is lost.

*Not reached*: the run had less to do than the one that the boundaries were taken from (records of the hosts that an
earlier run had brought up to date already), and ended well before it came there."""


def main() -> None:
    """Run the scenarios that are named, or all."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=Path("docs/evidence/crash-matrix.md"))
    parser.add_argument("--progress", type=Path, default=Path(tempfile.gettempdir()) / "crash-matrix.jsonl")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="Try only every N-th boundary.")
    parser.add_argument("scenarios", nargs="*", default=SCENARIOS, metavar="SCENARIO")
    given = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as directory, Lab(Path(directory)) as lab:
        matrix = Matrix(Bench(lab), given.progress, given.every)
        for boundary in matrix.left(BOOTSTRAP):
            if BOOTSTRAP in given.scenarios:
                matrix.run(BOOTSTRAP, boundary)
        if REPLACEMENT in given.scenarios:
            matrix.run(REPLACEMENT, None)  # The first one after a bootstrap brings records up to date, too.
            for boundary in matrix.left(REPLACEMENT):
                matrix.run(REPLACEMENT, boundary)
        if SCALE_UP in given.scenarios:
            # The first round also brings records up to date that an earlier scenario left behind.
            for scenario in (SCALE_UP, SCALE_DOWN):
                matrix.run(scenario, None)
            up = matrix.left(SCALE_UP)
            down = matrix.left(SCALE_DOWN)
            for one, other in zip_longest(up, down):
                matrix.run(SCALE_UP, one)
                matrix.run(SCALE_DOWN, other)
    took = f"{len(matrix.trials)} runs, {(time.monotonic() - began) / 60:.0f} minutes.\n\n"
    text = header("Crash matrix", "python -m tests.evidence.crash_matrix", WHAT) + took + matrix.table()
    write(
        given.out,
        f"{text}\n\n## Deaths by effect\n\n{matrix.effects()}\n\n## Failures\n\n{matrix.failures()}\n",
    )


if __name__ == "__main__":
    main()
