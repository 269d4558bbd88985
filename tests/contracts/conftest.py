"""A spec with its keys, and states of its hosts, for the command line."""

from pathlib import Path

import pytest

from etcdplan.cli.pki import initialise
from etcdplan.diff.target import Target
from etcdplan.model.state import Host, State
from etcdplan.planner.unroll import unroll
from tests.support.command_line import SPEC, save


@pytest.fixture(autouse=True)
def _no_labs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ETCDPLAN_LAB_HOME", str(tmp_path / "labs"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("pki")
    initialise(directory / "pki", recipients=[])
    return directory / "pki"


@pytest.fixture
def spec(tmp_path: Path, pki: Path) -> Path:
    (tmp_path / "pki").symlink_to(pki)
    path = tmp_path / "spec.yaml"
    path.write_text(SPEC)
    return path


@pytest.fixture
def target(spec: Path) -> Target:
    from etcdplan.cli.cluster import load

    return load(spec).target


@pytest.fixture
def empty(tmp_path: Path, target: Target) -> Path:
    hosts = {host: Host(host) for host in target.hosts()}
    return save(tmp_path / "empty.json", State(hosts))


@pytest.fixture
def converged(tmp_path: Path, target: Target) -> Path:
    plan = unroll(target, State({host: Host(host) for host in target.hosts()}))
    return save(tmp_path / "converged.json", plan.steps[-1].after)
