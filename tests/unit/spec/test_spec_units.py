"""Durations and sizes: every unit, exact both ways."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from etcdplan.spec.units import (
    DOCUMENT,
    MAX_DURATION_MS,
    MAX_SIZE_BYTES,
    DurationMs,
    SizeBytes,
    format_duration,
    format_size,
    go_duration,
)

DURATION = TypeAdapter(DurationMs)
SIZE = TypeAdapter(SizeBytes)


@pytest.mark.parametrize(
    ("text", "ms"),
    [("100ms", 100), ("1s", 1000), ("5m", 300_000), ("2h", 7_200_000), ("30d", 2_592_000_000)],
)
def test_durations(text: str, ms: int) -> None:
    assert DURATION.validate_python(text, context=DOCUMENT) == ms
    assert format_duration(ms) == text


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("100KiB", 102_400),
        ("512MiB", 2**29),
        ("8GiB", 2**33),
        ("100MB", 10**8),
        ("8GB", 8 * 10**9),
        ("7B", 7),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert SIZE.validate_python(text, context=DOCUMENT) == size
    assert format_size(size) == text


@pytest.mark.parametrize(
    "value",
    [
        100,
        1.5,
        True,
        None,
        "100",
        "1.5s",
        "1 s",
        "-1s",
        "0s",
        "01s",
        "1S",
        "s",
        "1s\n",
        "\u0661s",
        [],
        "9" * 19 + "d",
    ],
)
def test_not_a_duration(value: object) -> None:
    with pytest.raises(ValidationError, match="write a whole number and a unit"):
        DURATION.validate_python(value, context=DOCUMENT)


def test_bounds() -> None:
    assert DURATION.validate_python("36500d") == MAX_DURATION_MS
    assert SIZE.validate_python(f"{MAX_SIZE_BYTES}B") == MAX_SIZE_BYTES
    for adapter, text in ((DURATION, "36501d"), (SIZE, f"{MAX_SIZE_BYTES + 1}B")):
        with pytest.raises(ValidationError, match="too large"):
            adapter.validate_python(text)


def test_a_program_may_pass_integers() -> None:
    assert DURATION.validate_python(100) == 100
    for value in (True, 1.5, 0, -1):
        with pytest.raises(ValidationError):
            DURATION.validate_python(value)


@given(st.integers(1, MAX_DURATION_MS), st.integers(1, MAX_SIZE_BYTES))
def test_formats_are_exact(ms: int, size: int) -> None:
    assert DURATION.validate_python(format_duration(ms)) == ms
    assert SIZE.validate_python(format_size(size)) == size
    assert DURATION.validate_python(DURATION.dump_python(ms, mode="json")) == ms


def test_go_knows_no_days() -> None:
    texts = [go_duration(ms) for ms in (2_592_000_000, 300_000, 90_000, 100)]
    assert texts == ["720h", "5m", "90s", "100ms"]
    assert format_duration(0) == "0ms"
