"""How long commands take as whole processes, and how much memory they need, beside etcdctl and a bare Python.

    ./dev lab up && .venv/bin/python benchmarks/bench_cli.py ~/.local/share/etcdplan/labs/lab

Figures wanted: `--version` 0.15 s, `plan` of a lab of three members 0.8 s, peak memory of `plan` and `apply` 120 MB.
"""

import json
import os
import statistics
import sys
import time
from pathlib import Path

RUNS = 9


def measure(argv: list[str], runs: int = RUNS) -> tuple[float, float, float]:
    """Run a command several times; return the median and the maximum of its seconds, and its peak memory in MB."""
    seconds, peak = [], 0
    for _ in range(runs):
        began = time.perf_counter()
        pid = os.posix_spawn(
            argv[0],
            argv,
            os.environ,
            file_actions=[(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_WRONLY, 0) for fd in (1, 2)],
        )
        _, status, usage = os.wait4(pid, 0)
        seconds.append(time.perf_counter() - began)
        assert os.waitstatus_to_exitcode(status) == 0, argv
        peak = max(peak, usage.ru_maxrss)
    return statistics.median(seconds), max(seconds), peak / 1024


def main() -> None:
    """Measure and print a table."""
    lab = Path(sys.argv[1])
    spec = str(lab / "spec.yaml")
    file = json.loads((lab / "lab.json").read_text())
    network = file["network"]
    etcdctl = str(Path(next(iter(file["etcd"].values()))) / "etcdctl")
    tls = [
        f"--cacert={lab}/pki/etcd-ca.crt",
        f"--cert={lab}/pki/operator.crt",
        f"--key={lab}/pki/operator.key",
    ]
    endpoints = "--endpoints=" + ",".join(f"https://{network}.{n}:2379" for n in (1, 2, 3))
    etcdplan = str(Path(sys.executable).parent / "etcdplan")
    rows = [
        ("python -c pass", [sys.executable, "-c", "pass"]),
        ("etcdplan --version", [etcdplan, "--version"]),
        ("etcdctl endpoint status", [etcdctl, endpoints, *tls, "endpoint", "status"]),
        ("etcdplan validate", [etcdplan, "validate", spec]),
        ("etcdplan plan", [etcdplan, "plan", spec]),
        ("etcdplan apply (nothing to do)", [etcdplan, "apply", spec, "--auto-approve"]),
        ("etcdplan status", [etcdplan, "status", spec]),
    ]
    print(f"{'command':32} {'median s':>9} {'max s':>7} {'peak MB':>8} {'x etcdctl':>10}")
    measured = [(name, *measure(argv)) for name, argv in rows]
    base = next(median for name, median, _, _ in measured if name.startswith("etcdctl"))
    for name, median, worst, peak in measured:
        print(f"{name:32} {median:9.3f} {worst:7.3f} {peak:8.0f} {median / base:10.1f}")


if __name__ == "__main__":
    main()
