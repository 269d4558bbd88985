"""How long planning and proving takes, and how it grows with steps and hosts.

    python benchmarks/bench_planner.py

Wanted: at most 60 ms for 9 members, 9 API servers and 40 steps. Each figure is the median of some runs in one process,
in processor time, the observation of the cluster and the start of Python not included.
"""

import statistics
import time
from collections.abc import Mapping
from dataclasses import replace

from etcdplan.diff.target import Target, build_target
from etcdplan.model.facts import ABSENT
from etcdplan.model.settle import lose
from etcdplan.model.state import Host, State
from etcdplan.planner.unroll import Plan, unroll
from etcdplan.spec.models import Spec

RUNS = 15
WANTED_MS = 60


def target_of(members: range, api_servers: int, flags: Mapping[str, str] | None = None) -> Target:
    """Return the target of a TLS cluster."""
    pair = {"certificate": "ca.crt", "key": "ca.key"}
    spec = {
        "etcd": {"version": "3.6.16", "extraArgs": dict(flags or {})},
        "members": [{"name": f"m{n}", "host": f"10.0.0.{n}"} for n in members],
        "tls": {"ca": pair, "operator": pair},
        "apiServers": {
            "instances": [{"name": f"cp{n}", "host": f"10.0.1.{n}"} for n in range(1, api_servers + 1)]
        },
    }
    head = {"apiVersion": "etcdplan/v1", "kind": "EtcdCluster", "metadata": {"name": "bench"}}
    return build_target(Spec.model_validate({**head, "spec": spec}), ca="ca")


def empty(*targets: Target) -> State:
    """Return empty machines for all hosts that these targets name."""
    return State({host: Host(host) for target in targets for host in target.hosts()})


def founded(target: Target, *others: Target) -> State:
    """Return the state of a founded cluster, with empty machines for the others' hosts."""
    return unroll(target, empty(target, *others)).steps[-1].after


def without_disks(state: State, *members: int) -> State:
    """Return the state after those members lost their data."""
    for number in members:
        host = state.hosts[f"10.0.0.{number}"]
        state = state.with_host(replace(host, data=ABSENT, etcd=replace(host.etcd, process=ABSENT)))
    return lose(state)


def measure(target: Target, state: State) -> tuple[Plan, float]:
    """Return the plan and the median of its times in milliseconds."""
    times = []
    for _ in range(RUNS):
        began = time.process_time()
        plan = unroll(target, state)
        times.append((time.process_time() - began) * 1000)
    assert not plan.refusals, plan.refusals
    return plan, statistics.median(times)


def show(title: str, target: Target, state: State) -> tuple[int, float]:
    """Measure and print a line; return steps and milliseconds."""
    plan, took = measure(target, state)
    steps = len(plan.steps)
    print(f"{title:<44}{len(target.hosts()):>6}{steps:>7}{took:>9.1f}{took / max(steps, 1):>9.2f}")
    return steps, took


def main() -> None:
    """Print the tables."""
    print(f"{'':<44}{'hosts':>6}{'steps':>7}{'ms':>9}{'ms/step':>9}")
    nine = target_of(range(1, 10), 9)
    big = founded(nine)
    show("9 members, 9 API servers: nothing to do", nine, big)
    changed = target_of(range(1, 10), 9, {"max-txn-ops": "200"})
    show("  change a flag of etcd", changed, big)
    show("  replace the data of one", nine, without_disks(big, 4))
    steps, took = show("  replace the data of two", nine, without_disks(big, 4, 5))
    print(f"  wanted with 40 steps: {WANTED_MS} ms; this comes to {took / steps * 40:.0f} ms\n")
    for size in (1, 3, 5, 7, 9):
        target = target_of(range(1, size + 1), size)
        show(f"found {size} members, {size} API servers", target, empty(target))
    print()
    three = target_of(range(1, 4), 3)
    for size in (4, 5, 7, 9):
        target = target_of(range(1, size + 1), 3)
        show(f"scale 3 members to {size}, 3 API servers", target, founded(three, target))
    print()
    for moved in (1, 3, 5):
        target = target_of(range(1 + moved, 6 + moved), 3)
        five = target_of(range(1, 6), 3)
        show(f"move {moved} of 5 members, 3 API servers", target, founded(five, target))


if __name__ == "__main__":
    main()
