"""A lab for each test that asks for one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cli import Lab


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """A place for a lab; nothing is in it yet."""
    with Lab(tmp_path) as lab:
        yield lab
