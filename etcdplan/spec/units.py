"""Durations and sizes: text with a unit in a spec, whole milliseconds and bytes in the program."""

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Final, TypeAlias

from pydantic import BeforeValidator, PlainSerializer, ValidationInfo, WithJsonSchema

from etcdplan.spec.problems import Invalid, shown

DURATION_UNITS: Final = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
SIZE_UNITS: Final = {
    "B": 1,
    "KiB": 1024,
    "MB": 1000**2,
    "MiB": 1024**2,
    "GB": 1000**3,
    "GiB": 1024**3,
}
MAX_DURATION_MS: Final = 36_500 * DURATION_UNITS["d"]
"""A hundred years: whatever is longer is a slip, and would overflow dates."""
MAX_SIZE_BYTES: Final = 2**63 - 1

DOCUMENT: Final = {"document": True}
"""Validation context of values that a person wrote: integers without a unit are refused in them."""


def _pattern(units: Mapping[str, int]) -> str:
    return f"^[1-9][0-9]{{0,18}}({'|'.join(units)})$"


def _parser(
    units: Mapping[str, int], kind: str, example: str, maximum: int
) -> Callable[[object, ValidationInfo], int]:
    whole = re.compile(_pattern(units)[:-1])
    remedy = f"write a whole number and a unit ({', '.join(units)}), such as {example}"

    def parse(value: object, info: ValidationInfo) -> int:
        if isinstance(value, int | float) and not isinstance(value, bool):
            if info.context == DOCUMENT:
                raise Invalid(f"{value} has no unit", remedy)
            number = value
        elif isinstance(value, str) and (match := whole.fullmatch(value)):
            number = int(value[: match.start(1)]) * units[match[1]]
        else:
            raise Invalid(f"{shown(value)} is not a {kind}", remedy)
        if not isinstance(number, int) or not 0 < number <= maximum:
            raise Invalid(f"{shown(value)} is too large or too small for a {kind}", remedy)
        return number

    return parse


def _exact(value: int, units: Mapping[str, int]) -> str:
    """`value` in the largest unit that it is a whole number of; units ascend from one that is 1."""
    unit = [name for name, factor in units.items() if factor == 1 or (value and value % factor == 0)][-1]
    return f"{value // units[unit]}{unit}"


def format_duration(ms: int) -> str:
    """Milliseconds for people and for specs, exact: `100ms`, `90s`, `30d`."""
    return _exact(ms, DURATION_UNITS)


def go_duration(ms: int) -> str:
    """Milliseconds as Go's `time.ParseDuration` reads them, exact: `720h`, `5m`; it knows no days."""
    return _exact(ms, {name: factor for name, factor in DURATION_UNITS.items() if name != "d"})


def format_size(size: int) -> str:
    """Bytes for people and for specs, exact: `8GiB`, `100MB`, `1B`."""
    return _exact(size, SIZE_UNITS)


def duration(text: str) -> int:
    """Return the milliseconds of a duration as a spec has it; raise `Invalid`."""
    match = re.fullmatch(_pattern(DURATION_UNITS), text)
    if match is None:
        raise Invalid(f"{shown(text)} is not a duration", "write a whole number and a unit, such as 10m")
    return int(text[: match.start(1)]) * DURATION_UNITS[match[1]]


DurationMs: TypeAlias = Annotated[
    int,
    BeforeValidator(_parser(DURATION_UNITS, "duration", "100ms or 30d", MAX_DURATION_MS)),
    PlainSerializer(format_duration, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": _pattern(DURATION_UNITS)}),
]
"""Milliseconds; written as `100ms`, `1s`, `5m`, `2h`, `30d`."""

SizeBytes: TypeAlias = Annotated[
    int,
    BeforeValidator(_parser(SIZE_UNITS, "size", "8GiB", MAX_SIZE_BYTES)),
    PlainSerializer(format_size, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": _pattern(SIZE_UNITS)}),
]
"""Bytes; written as `8GiB`, `512MiB`, `100KiB`, `8GB`, `100MB`."""
