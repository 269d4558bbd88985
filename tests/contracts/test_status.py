"""What `status` exits with, as scripts see it."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from etcdplan.apply.pending import Pending
from etcdplan.cli import cluster
from etcdplan.cli.app import run
from etcdplan.model.state import State
from tests.plans import clusters
from tests.plans.clusters import api_servers, members, running, spec_of, target_of

SPEC = spec_of(members(1, 2, 3), api_servers(1))
RUNNING = running(SPEC)


@pytest.mark.parametrize(
    ("state", "code"),
    [
        (RUNNING, 0),
        (clusters.bare(SPEC), 0),
        (clusters.down(RUNNING, "10.0.0.2"), 0),
        (clusters.down(RUNNING, "10.0.0.2", "10.0.0.3"), 2),
        (clusters.down(RUNNING, "10.0.0.1", "10.0.0.2", "10.0.0.3"), 8),
        (clusters.silent(RUNNING, "10.0.1.1"), 8),
        (clusters.silent(clusters.down(RUNNING, "10.0.0.2", "10.0.0.3"), "10.0.1.1"), 8),
    ],
    ids=[
        "whole",
        "not founded",
        "one down",
        "quorum lost",
        "nobody answers",
        "silent host",
        "silent and lost",
    ],
)
def test_exit_code(
    state: State, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @contextmanager
    def connect(*_: object) -> Iterator[object]:
        yield SimpleNamespace(target=target_of(SPEC), look=lambda _: (state, Pending()))

    monkeypatch.setattr(cluster, "load", lambda _: None)
    monkeypatch.setattr(cluster, "connect", connect)
    assert run(["status", "prod.yaml"]) == code
    assert run(["status", "prod.yaml", "--json"]) == code
    assert capsys.readouterr().out
