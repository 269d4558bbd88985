"""What writers notice while a cluster is changed, and how long a replacement takes, beside the same work by etcdctl.

    .venv/bin/python benchmarks/bench_gap.py [--version 3.6.16] [--runs 3]

Write gap: 20 writers over all client endpoints, each request with a deadline of 500 ms; the longest interval in which
no writer got an acknowledgement. Wanted: 0.3 s while a follower is replaced, in a rolling change and in scaling; 3 s
from the kill when the leader failed. A member with 100 MB of data: 2 s of etcdplan's own.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from threading import Event, Thread

from etcdplan.lab.binaries import etcd_binaries
from etcdplan.lab.create import create
from etcdplan.lab.directory import LabDirectory
from etcdplan.lab.processes import break_member, destroy
from etcdplan.lab.writers import TlsFiles, Writers

ETCDPLAN = str(Path(sys.executable).parent / "etcdplan")


class Lab:
    """A lab with its spec as text, and etcdctl."""

    def __init__(self, version: str) -> None:
        self.binaries = etcd_binaries(version)
        self.lab: LabDirectory = create("bench", members=3, version=version, etcd_dir=self.binaries)
        self.network = self.lab.file().network
        self.apply()

    def apply(self) -> float:
        """Apply the spec and return the seconds it took, the start of the program included."""
        began = time.perf_counter()
        subprocess.run(
            [ETCDPLAN, "apply", str(self.lab.spec), "--auto-approve"], check=True, capture_output=True
        )
        return time.perf_counter() - began

    def edit(self, old: str, new: str) -> None:
        """Change the spec."""
        text = self.lab.spec.read_text()
        assert old in text, old
        self.lab.spec.write_text(text.replace(old, new))

    def url(self, number: int, port: int = 2379) -> str:
        """Return a URL of a host."""
        return f"https://{self.network}.{number}:{port}"

    def etcdctl(self, *arguments: str, value: str | None = None) -> str:
        """Run etcdctl against members 1 and 3; `value` goes to its standard input."""
        pki = self.lab.pki
        tls = [f"--cacert={pki}/etcd-ca.crt", f"--cert={pki}/operator.crt", f"--key={pki}/operator.key"]
        command = [
            str(self.binaries / "etcdctl"),
            f"--endpoints={self.url(1)},{self.url(3)}",
            *tls,
            *arguments,
        ]
        environment = {**os.environ, "ETCDCTL_API": "3"}
        return subprocess.run(
            command, check=True, capture_output=True, text=True, env=environment, input=value
        ).stdout

    def leads(self, number: int) -> bool:
        """Whether a member leads."""
        status = json.loads(self.etcdctl("endpoint", "status", "--cluster", "-w", "json"))
        one = next(entry for entry in status if entry["Endpoint"] == self.url(number))
        return bool(one["Status"]["leader"] == one["Status"]["header"]["member_id"])

    def lead(self, number: int) -> None:
        """Make a member lead."""
        status = json.loads(self.etcdctl("endpoint", "status", "--cluster", "-w", "json"))
        leader = next(e for e in status if e["Status"]["leader"] == e["Status"]["header"]["member_id"])
        wanted = next(e for e in status if e["Endpoint"] == self.url(number))
        if leader is not wanted:
            target = f"{wanted['Status']['header']['member_id']:x}"
            self.etcdctl("move-leader", target, f"--endpoints={leader['Endpoint']}")

    def writers(self) -> Writers:
        """Return writers over members 1 to 3."""
        pki = self.lab.pki
        tls = TlsFiles(pki / "etcd-ca.crt", pki / "operator.crt", pki / "operator.key")
        return Writers([self.url(number) for number in (1, 2, 3)], tls=tls)


def replace_by_hand(lab: Lab) -> float:
    """Replace member2 as a runbook does it: remove, add as a learner, start, promote, and see it serve."""
    began = time.perf_counter()
    listed = json.loads(lab.etcdctl("member", "list", "-w", "json"))["members"]
    dead = next(member for member in listed if member.get("name") == "member2")
    lab.etcdctl("member", "remove", f"{dead['ID']:x}")
    while True:
        try:
            lab.etcdctl("member", "add", "member2", "--learner", f"--peer-urls={lab.url(2, 2380)}")
            break
        except subprocess.CalledProcessError:
            time.sleep(0.2)
    root = lab.lab.hosts / f"{lab.network}.2"
    flags = root / "etc/etcdplan/etcd.flags"
    flags.write_text(flags.read_text().replace("initial-cluster-state=new", "initial-cluster-state=existing"))
    arguments = [
        line.replace("=/", f"={root}/") if "=/" in line else line
        for line in flags.read_text().splitlines()
        if line
    ]
    process = subprocess.Popen(
        [str(lab.binaries / "etcd"), *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    added = next(
        m for m in json.loads(lab.etcdctl("member", "list", "-w", "json"))["members"] if m.get("isLearner")
    )
    while True:
        try:
            lab.etcdctl("member", "promote", f"{added['ID']:x}")
            break
        except subprocess.CalledProcessError:
            time.sleep(0.1)
    while True:
        try:
            lab.etcdctl("endpoint", "health", f"--endpoints={lab.url(2)}")
            break
        except subprocess.CalledProcessError:
            time.sleep(0.1)
    seconds = time.perf_counter() - began
    process.send_signal(signal.SIGTERM)
    process.wait(30)
    return seconds


def watched(lab: Lab, act: Callable[[], float]) -> tuple[float, float, float, int]:
    """Write while something happens; return its seconds, the longest gap, the slowest write, and the writes lost."""
    writers = lab.writers()
    with writers:
        time.sleep(2)
        seconds = act()
        time.sleep(2)
    report = writers.report()
    return seconds, report.longest_gap, report.slowest, writers.lost()


def row(name: str, figures: tuple[float, float, float, int], wanted: str) -> None:
    """Print a line of the table."""
    seconds, gap, slowest, lost = figures
    print(f"{name:44} {seconds:7.2f} {gap:7.2f} {slowest:9.2f} {lost:5}   {wanted}", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--version", default="3.6.16")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    place = tempfile.mkdtemp(prefix="etcdplan-bench-")
    os.environ["ETCDPLAN_LAB_HOME"] = place
    os.environ["XDG_STATE_HOME"] = f"{place}/state"
    lab = Lab(options.version)
    try:
        print(
            f"{'etcd ' + options.version:44} {'seconds':>7} {'gap':>7} {'slowest':>9} {'lost':>5}   wanted gap"
        )
        time.sleep(6)
        for _ in range(options.runs):
            measure(lab)
        big(lab)
    finally:
        destroy(LabDirectory.named("bench"))
        shutil.rmtree(place, ignore_errors=True)


def measure(lab: Lab) -> None:
    """One round of all changes."""

    def fail() -> float:
        break_member(lab.lab, "member2", "disk")
        return lab.apply()

    lab.lead(1)
    time.sleep(6)
    row("replace a follower", watched(lab, fail), "<= 0.3")
    time.sleep(6)
    lab.lead(2)
    time.sleep(1)
    row("replace the leader (gap from the kill)", watched(lab, fail), "<= 3")
    time.sleep(6)
    lab.lead(2)
    lab.edit("quotaBackend: 2GiB", "quotaBackend: 3GiB")
    row("rolling change, three members, leader last", watched(lab, lab.apply), "<= 0.3")
    lab.edit("quotaBackend: 3GiB", "quotaBackend: 2GiB")
    lab.apply()
    time.sleep(6)
    two = "".join(f"    - {{name: member{n}, host: {lab.network}.{n}}}\n" for n in (4, 5))
    anchor = "    # Spare hosts"
    lab.edit(anchor, two + anchor)
    row("scale from three to five", watched(lab, lab.apply), "<= 0.3")
    lab.edit(two, "")
    row("scale from five to three", watched(lab, lab.apply), "<= 0.3")
    time.sleep(6)
    lab.lead(1)
    break_member(lab.lab, "member2", "disk")
    row("replace a follower by etcdctl, as a runbook", watched(lab, lambda: replace_by_hand(lab)), "")
    lab.apply()
    time.sleep(6)


def etcds_part(lab: Lab) -> float:
    """Return the seconds from the last start of member2's etcd until it served, as its log has them."""
    log = (lab.lab.hosts / f"{lab.network}.2/var/log/etcd.log").read_text().splitlines()
    lines = [json.loads(line) for line in log if line.startswith("{")]
    served = max(n for n, line in enumerate(lines) if line["msg"] == "ready to serve client requests")
    started = max(n for n, line in enumerate(lines[:served]) if line["msg"] == "Running: ")
    began, ended = (datetime.fromisoformat(lines[n]["ts"]) for n in (started, served))
    return (ended - began).total_seconds()


def big(lab: Lab) -> None:
    """Replace a member with 100 MB of data, by etcdplan and by etcdctl, with a write now and then.

    etcd alone may need 7 s to serve, and without any write much longer: docs/decisions/0010.
    """
    for number in range(110):
        lab.etcdctl("put", f"big/{number}", value="x" * 950_000)
    done = Event()

    def tick() -> None:
        while not done.wait(0.5):
            lab.etcdctl("put", "tick", "tock")

    ticking = Thread(target=tick)
    ticking.start()
    try:
        replace_with_much_data(lab)
    finally:
        done.set()
        ticking.join()


def replace_with_much_data(lab: Lab) -> None:
    """Print how long it takes."""
    for _ in range(3):
        lab.lead(1)
        time.sleep(6)
        break_member(lab.lab, "member2", "disk")
        ours = lab.apply()
        waited = etcds_part(lab)
        print(f"100 MB of data: {ours:.2f} s, of these etcd from start to serving {waited:.2f} s, ", end="")
        print(f"etcdplan's own share {ours - waited:.2f} s, wanted <= 2", flush=True)
    time.sleep(6)
    break_member(lab.lab, "member2", "disk")
    print(f"100 MB of data: etcdctl as a runbook {replace_by_hand(lab):.2f} s")
    lab.apply()


if __name__ == "__main__":
    main()
