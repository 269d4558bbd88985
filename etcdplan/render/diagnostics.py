"""Errors and findings in a box, so that they stand out in a log without colour too."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from etcdplan.errors import EtcdplanError
from etcdplan.planner.document import FindingEntry
from etcdplan.render.printable import Style, counted, paint, printable, wrap
from etcdplan.spec.lint import Finding
from etcdplan.spec.problems import Problem, SpecInvalid

MAX_SHOWN = 20
"""More fill the screen, and mostly follow from the first ones; `--json` has all."""


SEVERITIES: Final[dict[str, tuple[str, Style]]] = {
    "error": ("Error", "red"),
    "warning": ("Warning", "yellow"),
    "note": ("Note", "cyan"),
}


def box(title: str, lines: Iterable[str], *, style: Style, color: bool, width: int = 100) -> str:
    """Return a box of a title and printable lines of text; indented ones are commands and stay whole."""
    edge = paint("│", style, color=color)
    body = [part for line in lines for part in ([line] if line[:4] == "    " else wrap(line, width - 2))]
    return "\n".join(
        [
            paint("╷", style, color=color),
            f"{edge} {paint(title, 'bold', style, color=color)}",
            *(f"{edge} {line}".rstrip() for line in body),
            paint("╵", style, color=color),
        ]
    )


def error_text(error: EtcdplanError, *, color: bool, width: int = 100) -> str:
    """Say what is wrong and what to do; everything that is wrong with a spec, each at its place."""
    if isinstance(error, SpecInvalid) and error.problems:
        shown = [_problem(problem, color=color, width=width) for problem in error.problems[:MAX_SHOWN]]
        left = len(error.problems) - len(shown)
        omitted = f", {left} not shown" if left else ""
        return "\n".join(
            [*shown, f"{counted(len(error.problems), 'problem')} in the specification{omitted}."]
        )
    message = [printable(line) for line in error.message.splitlines()] or [type(error).__name__]
    hint = ["", *(printable(line) for line in error.hint.splitlines())] if error.hint else []
    return box(f"Error: {message[0]}", [*message[1:], *hint], style="red", color=color, width=width)


def _problem(problem: Problem, *, color: bool, width: int) -> str:
    where = [_place(problem.path, problem.line, problem.column, problem.address)]
    remedy = [printable(problem.remedy)] if problem.remedy else []
    return box(f"Error: {printable(problem.what)}", [*where, *remedy], style="red", color=color, width=width)


def finding_text(finding: Finding, path: Path, *, color: bool, width: int = 100) -> str:
    """Say what is unwise, with its code."""
    word, style = SEVERITIES[finding.severity]
    where = _place(path, finding.position.line, finding.position.column, finding.address)
    title = f"{word} {finding.code}: {printable(finding.what)}"
    return box(title, [where, printable(finding.remedy)], style=style, color=color, width=width)


def finding_line(finding: FindingEntry) -> str:
    """Say a finding of a plan in one line."""
    word, _ = SEVERITIES[finding.severity]
    return f"{word} {finding.code} ({finding.address}): {finding.message}; {finding.remedy}."


def _place(path: Path, line: int, column: int, address: str) -> str:
    """Return `spec.yaml:12:5  spec.members[1].host`."""
    place = f"{path}:{line}:{column}" if line else f"{path}"
    return printable(f"{place}  {address}" if address else place)
