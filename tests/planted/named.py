"""The tests that the patches name. As a plugin (`-p tests.planted.named`) it leaves out all others."""

from pathlib import Path

import pytest

PATCHES = sorted(Path(__file__).parent.glob("*.patch"))


def named(patch: Path) -> list[str]:
    """Return the tests that a patch names, as arguments of pytest."""
    lines = patch.read_text().splitlines()
    return [line.removeprefix("# test:").strip() for line in lines if line.startswith("# test:")]


def _names(test: str, item: pytest.Item) -> bool:
    place, _, word = test.partition(" -k ")
    here = item.nodeid == place or item.nodeid.startswith((f"{place}::", f"{place}["))
    return here and word.lower() in item.name.lower()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep those that are named, and miss those that are not in the files that were given."""
    tests = {
        test for patch in PATCHES for test in named(patch) if test.split()[0].split("::")[0] in config.args
    }
    found = [item for item in items if any(_names(test, item) for test in tests)]
    missing = [test for test in tests if not any(_names(test, item) for item in found)]
    if missing:
        raise pytest.UsageError(f"there is no such test: {', '.join(sorted(missing))}")
    config.hook.pytest_deselected(items=[item for item in items if item not in found])
    items[:] = found
