"""The fake world as a whole."""

import ast
import time
from pathlib import Path

from tests import support
from tests.support.fake_world import FakeWorld
from tests.support.scenarios import (
    founded,
)
from tests.unit.support.by_hand import H3, Operator, client


def test_a_hung_process_is_stopped_all_the_same(world: FakeWorld, operator: Operator) -> None:
    world.hang(H3)
    operator.do(H3, "stop", "etcd")
    assert world.machines[H3].etcd.process is None
    assert world.violations == []


def test_looking_at_five_members_takes_less_than_a_millisecond() -> None:
    world = founded(members=5)
    hosts = [(world.host(address), client(address)) for address in world.machines]
    took = []
    for _ in range(20):
        before = time.perf_counter()
        for host, url in hosts:
            host.inspect(timeout=1)
            host.ask_etcd(url, timeout=1)
        took.append(time.perf_counter() - before)
    assert min(took) < 0.001


def test_the_fake_world_shares_no_dynamics_with_the_model() -> None:
    directory = Path(support.__file__).parent
    fakes = ("calls", "consensus", "effects", "etcd", "machine", "pki", "ports", "start", "world")
    for file in (*(directory / f"fake_{name}.py" for name in fakes), directory / "monitors.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            modules = [node.module] if isinstance(node, ast.ImportFrom) else []
            modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for module in modules:
                assert module not in (
                    "etcdplan.model.effects",
                    "etcdplan.model.settle",
                    "etcdplan.model.identity",
                    "etcdplan.model.quorum",
                ), file
