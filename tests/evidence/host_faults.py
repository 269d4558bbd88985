"""Faults that need real hosts, each at a named step of a change: converged after one resume at most, nothing lost.

python -m tests.evidence.host_faults [--out FILE] [CASE...]

A CASE is a number of the table, or the beginning of a name such as F8 or F8-S12.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from tests.evidence.bench import header, write
from tests.evidence.host_fault_cases import CASES
from tests.support.fleet import Done
from tests.support.trial import Case, Trial, Trials

WHAT = """\
Three members on systemd hosts over SSH and a spare host (S11: and a kube-apiserver on a host of its own), while three
writers put keys. A run of `apply` is held at the step; then the fault strikes, and is undone at once, after the time
that is named, or when the run has ended. A run that did not converge is resumed once, from another machine. Wanted: the
exit code is one of those that the case allows, and then all is as the spec has it (another `apply` finds nothing to
do, all members serve), every acknowledged key is there, and all members have the same `HashKV`. A replacement is of one
of three members by one on the spare host; settings are changed on all members, one after the other; certificates are
all issued anew. *exit*: of the run, and of what came after it. *gap*: the longest time in which no writer got an
acknowledgement. Steps and faults are those of the crash matrix: S1 lock and first look, S3 files, S5 certificates, S7
member added, S8 started, S9 promoted, S10 leader moved, S11 API server, S12 member removed and stopped, S13 restart
with other settings, S19 end and unlock."""


def chosen(wanted: list[str]) -> list[tuple[int, Case]]:
    """Return the cases to try, with their numbers, those beside an API server last."""
    numbered = list(enumerate(CASES, 1))
    found = [
        (number, case)
        for number, case in numbered
        if not wanted
        or str(number) in wanted
        or any(not one.isdigit() and case.name.startswith(one) for one in wanted)
    ]
    return sorted(found, key=lambda one: one[1].step == "S11")


def tried(cases: list[tuple[int, Case]], directory: Path) -> Iterator[tuple[int, Trial]]:
    """Try them one after the other; after one that went wrong there is a new cluster."""
    with ExitStack() as stack:
        trials: Trials | None = None
        for number, case in cases:
            beside = case.step == "S11"
            if trials is not None and beside != (trials.plane is not None):
                stack.pop_all().close()
                trials = None
            if trials is None:
                trials = stack.enter_context(Trials.up(directory / str(number), api_server=beside))
            trial = trials.once(case)
            yield number, trial
            if trial.wrong:
                stack.pop_all().close()
                trials = None


def row(number: int, trial: Trial) -> str:
    """Return a line of the table."""
    case = trial.case
    written = trial.written
    cells = (
        f"{number}",
        case.fault,
        case.step,
        f"{case.change}, {case.at or 'refused'}",
        f"{case.on}: {case.what}" if case.fault not in ("F14", "F15", "F25") else case.what,
        f"{_code(trial.first)}{f', then {_code(trial.then)}' if trial.then else ''}",
        f"{trial.first_took:.0f} s{f' + {trial.then_took:.0f} s' if trial.then else ''}",
        "" if written is None else f"{written.acknowledged}",
        "" if written is None else f"{written.longest_gap:.1f} s",
        "**no**" if trial.wrong else "yes",
    )
    return f"| {' | '.join(cell.replace('|', '') for cell in cells)} |"


def _code(done: Done | None) -> str:
    if done is None:
        return "-"
    return "killed" if done.code < 0 else f"{done.code}"


def page(command: str, outcomes: list[tuple[int, Trial]]) -> str:
    """Return the whole text."""
    outcomes = sorted(outcomes, key=lambda one: one[0])
    good = sum(not trial.wrong for _, trial in outcomes)
    lines = [
        "| # | fault | step | change, held | what befalls whom | exit | took | keys | gap | as wanted |",
        "|---:|---|---|---|---|---|---|---:|---:|---|",
        *(row(number, trial) for number, trial in outcomes),
        "",
        f"{good} of {len(outcomes)} ended as wanted; no acknowledged key was lost in these.",
        "",
        "## What the runs said that did not converge by themselves",
        "",
        *(
            f"- {number}: {_said(trial.first)}"
            for number, trial in outcomes
            if trial.first and trial.first.code > 0
        ),
        "",
        "## Failures",
        "",
        *(f"- {number}: {trial.wrong}" for number, trial in outcomes if trial.wrong),
    ]
    text = "\n".join(lines) + ("" if good < len(outcomes) else "None.")
    return f"{header('Faults on real hosts', command, WHAT)}{text}\n"


def _said(done: Done) -> str:
    text = " ".join(done.err.partition("Error: ")[2].replace("│", " ").replace("╵", " ").split())
    return f"{text[:300]}{'…' if len(text) > 300 else ''}"


def main() -> None:
    """Try the cases that were asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("cases", nargs="*")
    parser.add_argument("--out", type=Path, default=Path("docs/evidence/host-faults.md"))
    given = parser.parse_args()
    outcomes: list[tuple[int, Trial]] = []
    command = " ".join(["python -m tests.evidence.host_faults", *given.cases])
    with tempfile.TemporaryDirectory() as directory:
        for number, trial in tried(chosen(given.cases), Path(directory)):
            outcomes.append((number, trial))
            print(row(number, trial), trial.wrong, flush=True)
            write(given.out, page(command, outcomes), say=lambda _: None)
    sys.exit(any(trial.wrong for _, trial in outcomes))


if __name__ == "__main__":
    main()
