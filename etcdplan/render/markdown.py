"""A plan as one comment of a pull request, kept up to date in place.

Everything untrusted stands in code spans and fences longer than any run of backticks in it, where neither Markdown nor
HTML is read; so it cannot end its fence, hide a line, mention anybody or forge the header.
"""

import re
from collections.abc import Sequence
from urllib.parse import quote

from etcdplan.planner.document import PlanDocument
from etcdplan.render.changes import blocks, count
from etcdplan.render.diagnostics import finding_line
from etcdplan.render.printable import counted, printable_document
from etcdplan.render.steps import Row, groups
from etcdplan.render.summary import numbers, standing, step_counts, tolerance
from etcdplan.render.text import NO_CHANGES

LEAST = 4_000
"""What the parts take that are never left out, in bytes."""


def plan_markdown(document: PlanDocument, *, limit: int = 60_000) -> str:
    """Return a plan as Markdown of at most `limit` bytes (4,000 at least), ending in a newline.

    The first line is a comment that tools find the pull request's comment by. What does not fit is left out from the
    end of the details; destructive steps are always named, and a shortened plan says that it must not be approved.
    """
    if limit < LEAST:
        raise ValueError(f"a comment needs {LEAST} bytes at least")
    document = printable_document(document)
    for size in (limit, 200, 60, 0):
        # The visible part first in full, then with every untrusted text in it cut to `size`.
        whole = _comment(document, size, limit)
        if len(whole.encode()) <= limit:
            return whole
    raise AssertionError("the least comment fits")


def _comment(document: PlanDocument, size: int, limit: int) -> str:
    visible = [*_summary(document, size), *_refusals(document, size), *_destructive(document, size)]
    findings = [finding_line(finding) for finding in document.findings]
    details = [
        ("Steps", _steps(document)),
        ("Changes", _changes(document)),
        ("Findings", findings),
        ("Notes", document.notes),
    ]
    cut = size != limit
    for truncated in (cut, True):
        body = [*visible, *([_WARNING] if truncated else [])]
        end = _approval(document, size, truncated)
        head = _header(document, truncated)
        room = limit - len("\n\n".join([head, *body, *end, ""]).encode())
        sections, whole = _sections(details, room)
        if truncated or whole:
            return "\n\n".join([head, *body, *sections, *end]) + "\n"
    raise AssertionError("unreachable")


_WARNING = (
    "> [!WARNING]\n> This plan is truncated and must not be used to approve it. "
    "Read it in full in the job's log or its plan file (`etcdplan show`)."
)


def _header(document: PlanDocument, truncated: bool) -> str:
    fields = {
        "cluster": document.cluster.name[:200],
        "id": document.cluster.id[:32],
        "digest": document.digest[:80],
        "changes": len(document.changes),
        "refused": "yes" if document.refusals else "no",
        "truncated": "yes" if truncated else "no",
    }
    # Percent signs keep `--` and `>` out, which end a comment in HTML.
    written = (f"{key}={quote(f'{value}', safe=':').replace('--', '-%2D')}" for key, value in fields.items())
    return f"<!-- etcdplan-plan {' '.join(written)} -->"


def _summary(document: PlanDocument, size: int) -> list[str]:
    title = f"### etcdplan: cluster {code(document.cluster.name, size)}"
    if document.refusals:
        first = document.refusals[0]
        return [title, f"**Refused: {code(first.code, size)}. Nothing can be applied.**"]
    if not document.changes and not document.steps:
        return [title, f"**{NO_CHANGES}**"]
    stands = code(f"{standing(document)}", size)
    lines = [f"**Plan: {count(document.changes)}.**", f"{step_counts(document.steps)}. Now {stands}."]
    return [title, "  \n".join([*lines, tolerance(document)]).rstrip()]


def _refusals(document: PlanDocument, size: int) -> list[str]:
    return [
        _fence([_short(f"{text}", size) for text in (f"{r.code} ({r.subject})", r.message, r.remedy)], "text")
        for r in document.refusals[: 5 if size else 1]
    ]


def _destructive(document: PlanDocument, size: int) -> list[str]:
    found = [(number, step) for number, step in enumerate(document.steps, 1) if step.destructive]
    if not found:
        return []
    if not size:
        return [f"**Destructive steps:** {numbers([number for number, _ in found])}"]
    return [
        "\n".join(["**Destructive steps**", "", *(f"- {n}: {code(step.summary, size)}" for n, step in found)])
    ]


def _approval(document: PlanDocument, size: int, truncated: bool) -> list[str]:
    if document.refusals or truncated or not document.steps:
        return []
    return [
        f"Plan digest: {code(document.digest, size)}. To carry out exactly this plan: `etcdplan apply plan.json`"
    ]


def _steps(document: PlanDocument) -> list[str]:
    lines = []
    for group in groups(document.steps, verbose=False):
        lines.append(f"@@ {group.heading} @@")
        lines += [_row(row) for row in group.rows]
    return lines


def _row(row: Row) -> str:
    mark = "-" if row.destructive else "!" if row.restarts else " "
    quorum = f"[{row.standing} healthy, can lose {row.can_lose}]" if row.after.voters else ""
    return f"{mark} {row.numbers:>7}  {row.text}  {quorum}{'  ' if row.marks else ''}{row.marks}".rstrip()


def _changes(document: PlanDocument) -> list[str]:
    lines = []
    for block in blocks(document.changes, verbose=False):
        lines.append(f"{_sign(block.symbol)} {block}")
        lines += [f"{_sign(line.symbol)}     {line.text}" for line in block.lines]
    return lines


def _sign(symbol: str) -> str:
    """A diff is coloured by the first character of a line; `!` is its sign of change."""
    return {"~": "!", ">": "!", "?": "!"}.get(symbol, symbol)


def _sections(details: Sequence[tuple[str, Sequence[str]]], room: int) -> tuple[list[str], bool]:
    """Return as much of the details as fits, and whether that is all of it."""
    sections, whole = [], True
    for title, lines in details:
        if not lines:
            continue
        kept = _fitting(title, lines, room)
        whole &= kept == len(lines)
        if kept:
            section = _section(title, lines, kept)
            sections.append(section)
            room -= len(section.encode()) + 2
    return sections, whole


def _fitting(title: str, lines: Sequence[str], room: int) -> int:
    """Return how many lines of a section fit, by bisection: a longer fence may be needed for a later line."""
    low, high = 0, len(lines)
    while low < high:
        middle = (low + high + 1) // 2
        if len(_section(title, lines, middle).encode()) + 2 <= room:
            low = middle
        else:
            high = middle - 1
    return low


def _section(title: str, lines: Sequence[str], kept: int) -> str:
    left = len(lines) - kept
    omitted = f", {left} of {counted(len(lines), 'line')} left out" if left else ""
    fence = _fence(lines[:kept], "diff" if title in ("Steps", "Changes") else "text")
    return f"<details><summary>{title}{omitted}</summary>\n\n{fence}\n\n</details>"


def _fence(lines: Sequence[str], language: str) -> str:
    ticks = "`" * max(3, _longest_run(lines) + 1)
    return "\n".join([f"{ticks}{language}", *lines, ticks])


def code(text: str, size: int) -> str:
    """Return printable text as a code span; what is longer than `size` is cut."""
    text = _short(text, size) or " "
    ticks = "`" * (_longest_run([text]) + 1)
    return f"{ticks} {text} {ticks}" if "`" in text else f"{ticks}{text}{ticks}"


def _short(text: str, size: int) -> str:
    size = max(size, 20)
    return text if len(text) <= size else f"{text[: size - 1]}…"


def _longest_run(lines: Sequence[str]) -> int:
    return max((len(run) for line in lines for run in re.findall("`+", line)), default=0)
