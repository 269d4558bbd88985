"""What is wrong with a spec: where it stands, in which words, and what to do about it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from etcdplan.errors import SpecError

Address: TypeAlias = tuple[str | int, ...]
"""Keys and indices from the document's root, such as `("spec", "members", 1, "host")`."""

MAX_PROBLEMS: Final = 100
"""As many are worth telling a program, and worth the search for similar keys."""

PKI_INIT: Final = "'etcdplan pki init --new-identity age-identity.txt'"
"""The command that makes all that `spec.tls` names, in ./pki; `--plain` instead leaves the keys unencrypted."""


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place in a file; both count from 1, columns in characters."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong. `line` and `column` are 0 when the file could not be read at all."""

    path: Path
    line: int
    column: int
    address: str
    what: str
    remedy: str = ""

    def __str__(self) -> str:
        place = f"{self.path}:{self.line}:{self.column}" if self.line else f"{self.path}"
        subject = f"{self.address}: " if self.address else ""
        remedy = f"; {self.remedy}" if self.remedy else ""
        return f"{place}: {subject}{self.what}{remedy}"


class SpecInvalid(SpecError):
    """Everything that is wrong with one spec, in the order of the file."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda p: (p.line, p.column, p.address, p.what)))
        lines = [str(problem) for problem in self.problems[:MAX_PROBLEMS]]
        if left := len(self.problems) - len(lines):
            lines.append(f"and {left} more")
        super().__init__("\n".join(lines))


class Invalid(ValueError):
    """Raised by a model's validator: what is wrong with the value, and the remedy.

    `within` leads from the validated object to the part at fault, so that the message points at its line.
    """

    def __init__(self, what: str, remedy: str = "", *, within: Address = ()) -> None:
        super().__init__(f"{what}; {remedy}" if remedy else what)
        self.faults: tuple[tuple[Address, str, str], ...] = ((within, what, remedy),)

    @classmethod
    def together(cls, faults: Sequence["Invalid"]) -> "Invalid":
        """One error for several faults of an object; `faults` is not empty."""
        whole = cls("; ".join(map(str, faults)))
        whole.faults = tuple(part for fault in faults for part in fault.faults)
        return whole


def shown(value: object) -> str:
    """A user's value for a message: quoted, on one line, no control characters, not too long."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:56]}…{text[0] if isinstance(value, str) else ''}"


def shortened(text: str) -> str:
    """What stands in the file without quotes, for a message."""
    return text if len(text) <= 60 else f"{text[:59]}…"


def render_address(address: Address) -> str:
    """`spec.members[1].host`."""

    def part(key: str | int) -> str:
        if isinstance(key, int):
            return f"[{key}]"
        return f".{key}" if re.fullmatch(r"[\w-]{1,60}", key, re.ASCII) else f"[{shown(key)}]"

    return "".join(map(part, address)).removeprefix(".")
