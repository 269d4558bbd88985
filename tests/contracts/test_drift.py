"""What `drift` exits with and says, as a nightly job sees it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from etcdplan.apply.holder import Holder
from etcdplan.apply.journal import Journal, RunStart
from etcdplan.cli import cluster
from etcdplan.cli.app import run
from etcdplan.hosts.each import in_turn
from etcdplan.model.facts import known, unknown
from etcdplan.model.machine import Machine, Volume
from etcdplan.model.state import State
from tests.plans import clusters
from tests.plans.backed import HOUR, THERE, backed, store, with_stores
from tests.plans.clusters import api_servers, members, running, spec_of, target_of
from tests.plans.registry import DAY
from tests.support.clock import VirtualClock
from tests.unit.apply.memory_store import MemoryStore

SPEC = backed(spec_of(members(1, 2, 3), api_servers(1)))
BARE = running(SPEC)
RUNNING = with_stores(BARE, store(BARE, HOUR))


class Remembers:
    """Hosts that remember a run of a spec, or none."""

    def __init__(self, spec_digest: str = "", *, ended: bool = True) -> None:
        self.stores = {address: MemoryStore(address) for address in target_of(SPEC).hosts()}
        if spec_digest:
            holder = Holder("h", "h", "test", 1, 1, "h", "h", "apply")
            start = RunStart("prod", 1, holder, "sha256:1", spec_digest, (), target_of(SPEC).hosts())
            mirrors = self.stores
            journal = Journal.start(start, MemoryStore("runner"), mirrors, clock=VirtualClock())
            if ended:
                journal.run_ended(converged=True)

    def host(self, address: str) -> Any:
        return type("Host", (), {"store": self.stores[address]})


@pytest.fixture
def look(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run `drift` on a state, and return its exit code, JSON and text."""

    def drift(state: State, hosts: Remembers | None = None) -> tuple[int, dict[str, Any], str]:
        target = target_of(SPEC)
        loaded = type("Loaded", (), {"target": target, "digest": "sha256:ours"})

        @contextmanager
        def connect(*_: object) -> Iterator[object]:
            seen = hosts or Remembers()
            yield type(
                "Reached", (), {"hosts": seen, "each": staticmethod(in_turn), "observe": lambda **_: state}
            )

        monkeypatch.setattr(cluster, "load", lambda _: loaded)
        monkeypatch.setattr(cluster, "connect", connect)
        code = run(["drift", "prod.yaml", "--json"])
        body = json.loads(capsys.readouterr().out)
        assert run(["drift", "prod.yaml"]) == code
        return code, body, capsys.readouterr().out

    return drift


def test_nothing(look: Any) -> None:
    code, body, text = look(RUNNING)
    assert (code, body["changes"], body["findings"], body["refusals"]) == (0, [], [], [])
    assert body["format_version"] == "1.0"
    assert text.endswith("No drift. The cluster is as the specification says.\n")


@pytest.mark.parametrize(
    ("state", "what"),
    [
        (clusters.down(RUNNING, "10.0.0.2"), "member/member2/process"),
        (clusters.disk_gone(RUNNING, "10.0.0.2"), "member/member2"),
        (clusters.down(RUNNING, "10.0.0.1", "10.0.0.2"), "member/member1/process"),
        (replace(RUNNING, now=RUNNING.now + 350 * DAY), "certificate/member1/server"),
    ],
    ids=["member down", "disk gone", "quorum lost", "certificates about to expire"],
)
def test_changes(look: Any, state: State, what: str) -> None:
    code, body, text = look(state)
    assert code == 2
    assert what in {change["address"] for change in body["changes"]}
    assert what.rsplit("/process", 1)[0] in text or "certificates" in text


@pytest.mark.parametrize(
    ("state", "code", "finding"),
    [
        (with_stores(BARE, store(BARE, 30 * HOUR)), 2, "EP302"),
        (with_stores(BARE, store(BARE)), 2, "EP301"),
        (with_stores(BARE, store(BARE, HOUR), unknown(f"backup/{THERE}", "no answer")), 8, "EP306"),
        (BARE, 8, "EP306"),
    ],
    ids=["stale", "none", "silent destination", "not looked at"],
)
def test_backups(look: Any, state: State, code: int, finding: str) -> None:
    seen, body, text = look(state)
    assert (seen, body["changes"]) == (code, [])
    assert [one["code"] for one in body["findings"]] == [finding]
    assert finding in text


def test_a_host_that_does_not_answer_is_8(look: Any) -> None:
    code, _, text = look(clusters.silent(clusters.down(RUNNING, "10.0.0.2"), "10.0.0.3"))
    assert code == 8 and "10.0.0.3" in text


def test_notes_are_no_drift_and_warnings_are(look: Any) -> None:
    def on(free: int, processors: int) -> State:
        disk = known(Volume("/var/lib/etcd", free, 1 << 40))
        host = RUNNING.host("10.0.0.1")
        machine = Machine(memory=known(1 << 40), processors=known(processors), data=disk)
        return RUNNING.with_host(replace(host, machine=machine))

    assert look(on(1 << 39, 1))[0] == 0
    code, body, _ = look(on(1 << 20, 8))
    assert (code, [one["code"] for one in body["findings"]]) == (2, ["EP202"])


@pytest.mark.parametrize(
    ("hosts", "since", "said"),
    [
        (Remembers(), "unknown", "No apply is remembered"),
        (Remembers("sha256:ours"), "cluster", "what differs has drifted"),
        (Remembers("sha256:other"), "spec", "The spec has changed since the last apply"),
        (Remembers("sha256:ours", ended=False), "unfinished", "has not ended"),
    ],
    ids=["no run", "same spec", "other spec", "unfinished"],
)
def test_it_says_whether_spec_or_cluster_changed(look: Any, hosts: Remembers, since: str, said: str) -> None:
    _, body, text = look(clusters.down(RUNNING, "10.0.0.2"), hosts)
    assert body["since"]["changed"] == since
    assert said in " ".join(text.split())
