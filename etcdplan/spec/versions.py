"""Which etcd versions have defects that are known, from one data file, in which each has its source."""

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal, get_args

Severity = Literal["error", "warning", "note"]

_FILE: Final = Path(__file__).with_name("etcd_versions.json")
_RECOMMENDED: Final = "3.6.14 or later, or 3.5.33 or later"
"""Without any of the defects in the file."""


@dataclass(frozen=True, slots=True)
class Defect:
    """What is wrong with a version, and from which one on it is not; defects of one code and severity are one."""

    code: str
    severity: Severity
    what: str
    remedy: str


@cache
def entries() -> tuple[dict[str, Any], ...]:
    """Return the data file.

    `affected` are ranges of one minor version each, both ends included, null for all that came; `needs` says where the
    defect matters: `tls`, `single` (a cluster of one).
    """
    return tuple(json.loads(_FILE.read_text()))


def defects(version: str, circumstances: Collection[str]) -> Iterator[Defect]:
    """Yield what is known against a version (`3.6.16`) where these circumstances are given, in the order of codes."""
    own = _parts(version)
    for code in sorted({entry["code"] for entry in entries()}):
        for severity in get_args(Severity):
            found = [
                (entry["what"], last)
                for entry in entries()
                if (entry["code"], entry["severity"]) == (code, severity)
                and entry.get("needs", "") in ("", *circumstances)
                for first, last in entry["affected"]
                if _parts(first)[:2] == own[:2]
                and _parts(first) <= own
                and (last is None or own <= _parts(last))
            ]
            if found:
                yield Defect(
                    code, severity, "; ".join(what for what, _ in found), _remedy([last for _, last in found])
                )


def _remedy(last: list[str | None]) -> str:
    ends = [_parts(end) for end in last if end is not None]
    if len(ends) < len(last):
        return f"use {_RECOMMENDED}"
    major, minor, patch = max(ends)
    return f"use {major}.{minor}.{patch + 1} or later"


def _parts(version: str) -> tuple[int, int, int]:
    major, minor, patch = map(int, version.split("."))
    return major, minor, patch
