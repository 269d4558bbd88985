"""Harmful changes whose controller dies, is cut off, or whose host loses power: each is taken back by its host.

python -m tests.evidence.dead_man [--times N] [--seed N] [--hosts N] [--api-servers] [--out FILE]
"""

import argparse
import random
import signal
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from etcdplan.hosts.processes import wait_until
from etcdplan.lab.binaries import etcd_binaries
from tests.bed import Bed
from tests.evidence.bench import header, write
from tests.support.fleet import VERSION, Fleet
from tests.support.kubernetes import UNIT, ControlPlane

WHAT = """\
A systemd host runs an etcd of 3.6.16 (a cluster of one, so that hosts can be tried beside each other). `apply` writes
flags with which etcd exits at once, and then dies by SIGKILL at a boundary around an effect or at a random moment, or
its network is cut. In a part of the cases the host, too, loses power, up to ten seconds later. Wanted: the host has
the former unit file again, etcd serves, nothing is armed, and the next plan tells of the rollback. *After*: seconds
from the death, the cut, or the end of the boot to the moment when the host has put the file back and asked systemd to
restart.

With `--api-servers` each host has a kube-apiserver beside its etcd, and the harmful change is one of its flags: an etcd
of its own for events (`--etcd-servers-overrides`) at an address where nothing is, so that it runs and never is ready.
Afterwards it must be ready again."""
HARMFUL = "{no-such-flag: 'true'}"
NOTHING = "/events#https://127.0.0.1:9"
DEATHS = ("effect:1:after", "effect:2:before", "effect:2:after", "effect:3:before", "random", "cut")
STATE = "/var/lib/etcdplan/dead-man"


@dataclass(frozen=True)
class Case:
    """How a controller goes, and after how many seconds its host loses power, if it does."""

    death: str
    power: float | None
    delay: float


@dataclass(frozen=True)
class Outcome:
    """What became of a case; `wrong` is empty when all is as it was."""

    case: Case
    after: float
    wrong: str


class OneHost:
    """A host with a cluster of its own."""

    unit = "etcd.service"

    def __init__(self, bed: Bed, number: int, directory: Path) -> None:
        directory.mkdir()
        self.fired, self.armed = (f"{STATE}/{name}/{self.unit}" for name in ("fired", "armed"))
        self.fleet = Fleet(bed, directory)
        self.host, self.number = bed.host(number), number
        self.host.put("/usr/local/bin/etcd", etcd_binaries(VERSION) / "etcd", 0o755)
        # As a package manager does it: a power cut soon after would leave an empty program.
        self.host.exec("sync", "-f", "/usr/local/bin/etcd")
        self.host.exec("useradd", "--system", "etcd")
        self.fleet.run("pki", "init", "--plain")
        self.prepare()
        self.spec()
        self.fleet.apply()
        self.files = self._files()

    def prepare(self) -> None:
        """Put there what is to be changed beside etcd."""

    def spec(self, *, harmful: bool = False) -> None:
        """Write a spec."""
        more = {"extraArgs": HARMFUL} if harmful else {}
        self.fleet.write_spec((self.number,), allowOutage="true", **more)

    def serves(self) -> str:
        """Return why the unit does not do its work, if it does not."""
        try:
            self.fleet.await_status("1 of 1 voter serves")
        except AssertionError as error:
            return f"etcd does not serve: {error}"
        return ""

    def once(self, case: Case) -> Outcome:
        """Harm, and look whether it is taken back."""
        self.host.exec("rm", "-f", self.fired)
        self.spec(harmful=True)
        try:
            since = self._die(case)
            if case.power is not None:
                due = time.monotonic() + case.power
                wait_until(lambda: time.monotonic() >= due, timeout=60)
                self.host.power_cut()
                self.host.boot()
                since = max(since, time.time()) if self._exists(self.armed) else since
            wrong = self._wrong()
            after = (
                float(self.host.exec("stat", "-c", "%.Y", self.fired).stdout) - since if not wrong else 0.0
            )
        finally:
            self.host.heal()
        return Outcome(case, after, wrong)

    def _die(self, case: Case) -> float:
        failpoint = {"ETCDPLAN_FAILPOINT": case.death} if case.death.startswith("effect") else {}
        process = self.fleet.start(
            "apply", self.fleet.spec, "--auto-approve", ETCDPLAN_TEST_BUILD="1", **failpoint
        )
        if not failpoint:
            assert wait_until(lambda: self._exists(self.armed), timeout=90), "nothing was armed"
            due = time.monotonic() + case.delay
            wait_until(lambda: time.monotonic() >= due or process.poll() is not None, timeout=30)
            if case.death == "cut":
                self.host.cut_from(self.fleet.bed.controller)
            else:
                process.send_signal(signal.SIGKILL)
        since = time.time()
        try:
            out, err = process.communicate(timeout=240)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        if failpoint:
            since = time.time()
            assert process.returncode == -signal.SIGKILL, (out, err)
        elif case.death == "cut":
            self.host.heal()
        return since

    def _exists(self, path: str) -> bool:
        return self.host.exec("test", "-e", path, check=False).returncode == 0

    def _files(self) -> str:
        return self.host.exec("systemctl", "cat", self.unit).stdout

    def _wrong(self) -> str:
        if not wait_until(lambda: self._exists(self.fired) and not self._exists(self.armed), timeout=90):
            return "it was not taken back"
        if self._files() != self.files:
            return "the unit is not what it was"
        told = "was rolled back: " in self.fleet.plan(expect=None)
        self.spec()
        return self.serves() or ("" if told else "the next plan does not tell")


class OneApiServer(OneHost):
    """A host with a kube-apiserver beside its etcd."""

    unit = "kube-apiserver-cp1.service"

    def prepare(self) -> None:
        """Install the API server."""
        self.plane = ControlPlane(self.fleet.directory, {"cp1": (self.host, UNIT)})

    def spec(self, *, harmful: bool = False) -> None:
        """Write a spec; a harmful one points it at nothing."""
        super().spec()
        flags = f'    flags: {{etcd-servers-overrides: "{NOTHING if harmful else ""}"}}\n'
        with self.fleet.spec.open("a") as spec:
            spec.write(f"  apiServers:\n{flags}    instances:\n{self.plane.instances()}")

    def serves(self) -> str:
        """Return why it is not ready, if it is not."""
        ready = wait_until(lambda: self.plane.ready("cp1"), timeout=90)
        return "" if ready else "the API server is not ready"


def cases(times: int, chance: random.Random) -> list[Case]:
    """Return as many cases, every kind of death in turn, every third with a loss of power."""
    found = []
    for number in range(times):
        death = DEATHS[number % len(DEATHS)]
        power = chance.uniform(0, 10) if number % 3 == 1 else None
        found.append(Case(death, power, chance.uniform(0, 3)))
    return found


def main() -> None:
    """Try them, several hosts beside each other."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--times", type=int, default=50)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--hosts", type=int, default=4)
    parser.add_argument("--api-servers", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("docs/evidence/dead-man.md"))
    given = parser.parse_args()
    kind = OneApiServer if given.api_servers else OneHost
    left = cases(given.times, random.Random(given.seed))
    outcomes: list[Outcome] = []
    command = (
        f"python -m tests.evidence.dead_man --times {given.times} --seed {given.seed} --hosts {given.hosts}"
        f"{' --api-servers' if given.api_servers else ''}"
    )
    heading = header("Dead-man", command, WHAT)
    with tempfile.TemporaryDirectory() as directory, Bed(bare=given.hosts) as bed:

        def work(number: int) -> None:
            host = kind(bed, number, Path(directory) / f"h{number}")
            while left:
                case = left.pop(0)
                try:
                    outcome = host.once(case)
                except Exception as error:  # noqa: BLE001 - it is told in the table
                    outcome = Outcome(case, 0.0, f"{type(error).__name__}: {error}")
                outcomes.append(outcome)
                print(f"{len(outcomes)}: {outcome}", flush=True)
                write(given.out, f"{heading}{table(outcomes)}\n")

        with ThreadPoolExecutor(given.hosts) as pool:
            list(pool.map(work, range(1, given.hosts + 1)))
    write(given.out, f"{heading}{table(outcomes)}\n")


def table(outcomes: list[Outcome]) -> str:
    """Return what came of it."""
    lines = [
        "| controller | host | times | taken back | after, median | after, most |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for death in DEATHS:
        for power in (False, True):
            of = [o for o in outcomes if o.case.death == death and (o.case.power is not None) == power]
            good = sorted(o.after for o in of if not o.wrong)
            figures = f"{good[len(good) // 2]:.1f} s | {good[-1]:.1f} s" if good else "| "
            if of:
                host = "loses power" if power else ""
                lines.append(f"| {death} | {host} | {len(of)} | {len(good)} | {figures} |")
    wrong = [f"- {o.case}: {o.wrong}" for o in outcomes if o.wrong]
    total = f"{len(outcomes) - len(wrong)} of {len(outcomes)} were taken back."
    return "\n".join([*lines, "", total, "", "## Failures", "", *(wrong or ["None."])])


if __name__ == "__main__":
    main()
