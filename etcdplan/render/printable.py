"""Text for a terminal: nothing untrusted can move the cursor, hide a line or reorder what is read."""

import re
from typing import Any, Final, Literal, TypeVar

from etcdplan.planner.document import PlanDocument

T = TypeVar("T")

Style = Literal["bold", "dim", "red", "green", "yellow", "cyan"]
_SGR: Final = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}

COLORS: Final[dict[str, Style]] = {
    "+": "green",
    "-": "red",
    "-/+": "red",
    "~": "yellow",
    ">": "cyan",
    "?": "red",
}
"""The style of each symbol that stands before a change."""


def printable(text: str) -> str:
    """Escape what does not print: control, formatting and bidirectional characters, lone surrogates, line ends."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text
    )


def printable_document(document: PlanDocument) -> PlanDocument:
    """Return the document with every string in it printable, so that none can be forgotten later."""
    return PlanDocument.model_validate(_printable(document.model_dump()))


def _printable(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {printable(str(key)): _printable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_printable(item) for item in value]
    return value


def paint(text: str, *styles: Style, color: bool) -> str:
    """Put text into ANSI styles when `color` is wanted."""
    if not color or not text:
        return text
    return f"\x1b[{';'.join(_SGR[style] for style in styles)}m{text}\x1b[0m"


def wrap(text: str, width: int) -> list[str]:
    """Break text after spaces and commas; what is longer than a line is not broken, so that it can be copied."""
    lines = [""]
    for part in re.findall(r"[^ ,]+[ ,]*|[ ,]+", text):
        if lines[-1] and len(lines[-1] + part.rstrip(" ")) > width:
            lines.append("")
        lines[-1] += part
    return [line.rstrip(" ") for line in lines]


def counted(count: int, noun: str) -> str:
    """Return `1 step`, `2 steps`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def join(names: list[str]) -> str:
    """Return names as a list in prose."""
    return ", ".join(names)
