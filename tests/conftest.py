"""Slow tests first: one that begins last would run alone, with all other workers done."""

import pytest

SLOW = (
    "tests/hosts/",
    "tests/integration/test_crash_chains.py",
    "tests/integration/test_real_",
    "tests/planted/",
    "tests/integration/",
    "tests/faults/",
    "tests/unit/planner/",
)
"""Where the slow ones are, the slowest first."""


def _place(item: pytest.Item) -> int:
    found = (number for number, start in enumerate(SLOW) if item.nodeid.startswith(start))
    return next(found, len(SLOW))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put them there; tests of one file stay together, in their order."""
    items.sort(key=_place)
