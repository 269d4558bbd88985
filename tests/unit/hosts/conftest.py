import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from etcdplan.hosts.skeleton import make_host
from etcdplan.hosts.supervisor import SupervisedUnit


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A host's root directory."""
    directory = tmp_path.resolve() / "hosts" / "127.0.0.1"
    directory.parent.mkdir()
    make_host(directory)
    return directory


@pytest.fixture
def unit(root: Path) -> Iterator[SupervisedUnit]:
    """An etcd unit, which does not run any more after the test."""
    unit = SupervisedUnit(root, "etcd")
    yield unit
    unit.stop()


@pytest.fixture
def program(root: Path) -> Callable[[str], str]:
    """Makes an executable shell script and returns its path."""

    def make(body: str, name: str = "program") -> str:
        path = root / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
        return str(path)

    return make


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    """The most careless umask: what must be private is private all the same."""
    before = os.umask(0)
    yield
    os.umask(before)
