"""A plan for a terminal: what changes, in which order, and what the cluster survives at each step."""

from collections.abc import Iterator

from etcdplan.planner.document import FindingEntry, PlanDocument, RefusalEntry
from etcdplan.render.changes import LEGEND, Block, Line, blocks, count
from etcdplan.render.diagnostics import SEVERITIES, box, finding_line
from etcdplan.render.printable import COLORS, paint, printable, printable_document, wrap
from etcdplan.render.steps import Row, groups
from etcdplan.render.summary import next_command, standing, step_counts, tolerance

NO_CHANGES = "No changes. The cluster matches the specification."

_NUMBER, _STANDING, _LOSE, _MARKS = 7, 14, 12, 11


def plan_text(
    document: PlanDocument,
    *,
    color: bool,
    width: int = 100,
    spec_path: str | None = None,
    saved_to: str | None = None,
    plan_path: str | None = None,
    verbose: bool = False,
) -> str:
    """Return a plan as text, ending in a newline; `verbose` hides nothing.

    `spec_path`, `saved_to` (the plan was saved just now) and `plan_path` (it was there) are for what to type next.
    """
    commands = next_command(spec_path=spec_path, saved_to=saved_to, plan_path=plan_path)
    return PlanText(document, color=color, width=width, verbose=verbose).plan(commands)


class PlanText:
    """The parts of a plan as text; nothing that they hold can steer a terminal."""

    def __init__(self, document: PlanDocument, *, color: bool, width: int, verbose: bool = False) -> None:
        self.document, self.color = printable_document(document), color
        self.width, self.verbose = max(width, 60), verbose

    def drift(self, since: str, nothing: str) -> str:
        """Return what differs and falls short, without steps; `nothing` is said when there is nothing."""
        document = self.document
        parts: list[list[str]] = [[self._headline()]]
        parts += ([self._refusal(refusal)] for refusal in document.refusals)
        if document.changes:
            parts += [[self._legend()], [*self._changes()]]
        parts.append([*self._findings()])
        parts.append([*wrap(since, self.width)] if since else [self._bold(nothing)])
        return "\n\n".join("\n".join(part) for part in parts if part) + "\n"

    def _findings(self) -> Iterator[str]:
        if self.document.findings:
            yield self._bold("Findings:")
        for finding in self.document.findings:
            yield from self._finding(finding)

    def plan(self, commands: list[str]) -> str:
        """Return all of it; `commands` is what to type next."""
        document = self.document
        parts: list[list[str]] = [[self._headline()]]
        parts += ([self._refusal(refusal)] for refusal in document.refusals)
        if document.changes:
            parts += [[self._legend()], [*self._changes()]]
        if document.steps:
            parts.append([*self._steps()])
        parts.append([*self._findings()])
        if document.notes:
            parts.append(
                [self._bold("Notes:"), *(part for note in document.notes for part in self._note(note))]
            )
        if document.refusals:
            parts.append([self._nothing_applies()])
        elif not document.changes and not document.steps:
            parts.append([self._bold(NO_CHANGES)])
        else:
            parts.append([*self._summary()])
            parts.append([f"Plan digest: {self.document.digest}", *map(printable, commands)])
        return "\n\n".join("\n".join(part) for part in parts if part) + "\n"

    def _bold(self, text: str) -> str:
        return paint(text, "bold", color=self.color)

    def _headline(self) -> str:
        cluster = self.document.cluster
        return self._bold(f'Cluster "{cluster.name}" (ID {cluster.id}): {standing(self.document)}.')

    def _refusal(self, refusal: RefusalEntry) -> str:
        lines = [refusal.message, "", refusal.remedy]
        title = f"Refused: {refusal.code} ({refusal.subject})"
        return box(title, lines, style="red", color=self.color, width=self.width)

    def _nothing_applies(self) -> str:
        first = self.document.refusals[0]
        planned = " The steps above were planned before the problem was met." if self.document.steps else ""
        text = f"Refused: {first.code}. Nothing can be applied and nothing was changed.{planned}"
        return "\n".join(paint(line, "bold", "red", color=self.color) for line in wrap(text, self.width))

    def _legend(self) -> str:
        present = {block.symbol for block in self._blocks}
        present |= {line.symbol for block in self._blocks for line in block.lines}
        shown = [(symbol, word) for symbol, word in LEGEND.items() if symbol in present]
        return "  " + "   ".join(f"{self._symbol(symbol)} {word}" for symbol, word in shown)

    def _symbol(self, symbol: str) -> str:
        return paint(symbol, COLORS[symbol], color=self.color) if symbol else ""

    @property
    def _blocks(self) -> list[Block]:
        return blocks(self.document.changes, verbose=self.verbose)

    def _changes(self) -> Iterator[str]:
        yield self._bold("Changes:")
        for block in self._blocks:
            first, *rest = wrap(str(block), self.width - 8)
            yield f"{' ' * (3 - len(block.symbol))}{self._symbol(block.symbol)} {self._bold(first)}"
            yield from (f"        {line}" for line in rest)
            for line in block.lines:
                yield from self._line(line)

    def _line(self, line: Line) -> Iterator[str]:
        indent = " " * (7 - len(line.symbol))
        first, *rest = wrap(line.text, self.width - 12)
        yield f"{indent}{self._symbol(line.symbol)} {first}"
        yield from (f"          {part}" for part in rest)

    def _steps(self) -> Iterator[str]:
        space = self.width - _NUMBER - _STANDING - _LOSE - _MARKS - 5
        refused = " (planned before the problem was met; nothing can be applied)"
        title = f"Steps{refused if self.document.refusals else ''}:"
        head = f"{'healthy/voters':>{_STANDING}}  {'can lose':>{_LOSE}}"
        yield f"{self._bold(f'{title:<{_NUMBER + 1 + space}}')} {head}"
        for group in groups(self.document.steps, verbose=self.verbose):
            yield f"  {paint(group.heading, 'dim', color=self.color)}"
            for row in group.rows:
                yield from self._row(row, space)

    def _row(self, row: Row, space: int) -> Iterator[str]:
        first, *rest = wrap(row.text, space)
        mark = paint(f"{row.marks}", "red" if row.destructive else "yellow", color=self.color)
        line = f"{row.numbers:>{_NUMBER}} {first:<{space}} {row.standing:>{_STANDING}}  {row.can_lose:>{_LOSE}}  "
        yield f"{line}{mark}".rstrip()
        yield from (f"{'':{_NUMBER + 3}}{part}" for part in rest)
        if self.verbose:
            why = ", ".join([f"because: {row.reason}", *(f"restarts {unit}" for unit in row.restarts)])
            yield from (f"{'':{_NUMBER + 3}}{part}" for part in wrap(why, space))

    def _finding(self, finding: FindingEntry) -> Iterator[str]:
        word, style = SEVERITIES[finding.severity]
        title = f"{word} {finding.code}"
        first, *rest = wrap(finding_line(finding).removeprefix(title), self.width - 4 - len(title))
        yield f"  - {paint(title, style, color=self.color)}{first}"
        yield from (f"    {line}" for part in rest for line in wrap(part, self.width - 4))

    def _note(self, note: str) -> Iterator[str]:
        first, *rest = wrap(note, self.width - 4)
        yield f"  - {first}"
        yield from (f"    {line}" for line in rest)

    def _summary(self) -> Iterator[str]:
        counts = count(self.document.changes)
        yield self._bold(f"Plan: {counts}.")
        if counts.unknown:
            yield f"{counts.unknown} could not be compared."
        yield f"{step_counts(self.document.steps)}."
        yield from wrap(tolerance(self.document), self.width)
