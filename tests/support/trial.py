"""Trials on three systemd hosts and a spare one: a change, a fault at a named step, and what became of both."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from etcdplan.hosts.processes import wait_until
from etcdplan.lab.writers import TlsFiles, WriteReport, Writers
from tests.bed import wrong_clock
from tests.bed.host import Host
from tests.support.fleet import Done, Fleet
from tests.support.held import Held
from tests.support.kubernetes import UNIT, ControlPlane
from tests.support.strikes import STATE, Strike, etcdctl, in_the_middle, nothing

SETTINGS, REPLACEMENT, CERTIFICATES = "settings", "replacement", "certificates"
"""The changes: of a flag on all members, one after the other; of a member for one on the spare host; of all pairs."""
THERE, SPARE, LEAVING, LEADER, FOLLOWER, SERVER = (
    "there",
    "joining",
    "leaving",
    "leader",
    "follower",
    "API server",
)
"""The hosts: the one that the step is about, the new member's, the one that leaves, and so on."""
ENDED = 1e9
"""Undone when the run has ended, not earlier."""

_EMPTY = (
    "systemctl disable --quiet --now etcd 2>/dev/null; rm -rf /etc/systemd/system/etcd.service* /etc/etcdplan "
    f"/var/lib/etcd {STATE}/*; systemctl daemon-reload"
)
"""Makes a host one that nobody has had a member on."""


@dataclass(frozen=True)
class Case:
    """A fault of the matrix at one of its steps, as `docs/evidence/host-faults.md` shows it.

    `at` are words of a boundary of the run (`tests.support.held`), none when it comes to none; `on` is the host that
    is struck, and `undone` says how many seconds later all is well again. With `middle` the run is not held: the host
    is struck while a command of that effect runs there. `codes` are the exit codes that the run may end with; unless it
    converged, it is resumed (or, where nothing was begun, `again`: applied), once. `says` is part of what the run must
    say; `clock` is by how much the run's clock is wrong.
    """

    fault: str
    step: str
    change: str
    at: str
    on: str
    what: str
    strike: Strike
    undone: float = 0.0
    codes: tuple[int, ...] = (0,)
    says: str = ""
    middle: bool = False
    again: bool = False
    clock: str = ""

    @property
    def name(self) -> str:
        """How it is named on the command line."""
        return f"{self.fault}-{self.step}"

    def is_at(self, boundary: str) -> bool:
        """Whether this is where the fault strikes."""
        return set(self.at.split()) <= set(boundary.replace("/", " ").split())


@dataclass
class Trial:
    """What became of a case; `wrong` is empty when it ended as it should."""

    case: Case
    first: Done | None = None
    first_took: float = 0.0
    then: Done | None = None
    then_took: float = 0.0
    written: WriteReport | None = None
    wrong: str = ""


@dataclass
class Trials:
    """A cluster that one case after the other is tried on; after one that went wrong it is to be thrown away."""

    fleet: Fleet
    plane: ControlPlane | None
    members: list[int] = field(default_factory=lambda: [1, 2, 3])
    spare: int = 4
    quota: int = 2
    days: int = 10

    @classmethod
    @contextmanager
    def up(cls, directory: Path, *, api_server: bool = False) -> Iterator["Trials"]:
        """Found a cluster on hosts whose state directory is a small disk of its own."""
        directory.mkdir()
        with Fleet.up(directory, 5 if api_server else 4) as fleet:
            for host in fleet.bed.hosts:
                host.empty_disk(STATE, 32)
            plane = ControlPlane(directory, {"cp1": (fleet.host(5), UNIT)}) if api_server else None
            trials = cls(fleet, plane)
            trials.write_spec()
            fleet.apply()
            yield trials

    def write_spec(self) -> None:
        self.fleet.write_spec(self.members, quotaBackend=f"{self.quota}GiB")
        text = self.fleet.spec.read_text()
        # Pairs that were issued before are due as soon as this grows.
        ages = f"    validity: {24 * self.days}h\n    renewBefore: {24 * (self.days - 1)}h\n"
        text = text.replace("  tls:\n", f"  tls:\n{ages}")
        if self.plane is not None:
            text += f"  apiServers:\n    instances:\n{self.plane.instances()}"
        self.fleet.spec.write_text(text)

    def change(self, what: str) -> int:
        """Ask for another state; return the number of the host that leaves, or is spare as before."""
        leaving = self.spare
        if what == SETTINGS:
            self.quota = 5 - self.quota
        elif what == CERTIFICATES:
            self.days += 2
        else:
            leaving = self.members.pop()
            self.members.append(self.spare)
            self.spare = leaving
            self.fleet.host(self.members[-1]).exec("sh", "-c", _EMPTY)
        self.write_spec()
        return leaving

    def leader(self) -> int:
        """Return the number of the host whose etcd leads."""
        found: list[str] = []

        def led() -> bool:
            said = self.fleet.run("status", "--json", self.fleet.spec, expect=None).out
            found.extend(member["host"] for member in json.loads(said)["members"] if member["leader"])
            return bool(found)

        assert wait_until(led, timeout=60), "nobody leads"
        return next(host.number for host in self.fleet.bed.hosts if host.address == found[0])

    def _struck(self, case: Case, boundary: str, leaving: int) -> Host:
        if case.on == THERE:
            return next(host for host in self.fleet.bed.hosts if host.address in boundary.split())
        if case.on in (LEADER, FOLLOWER):
            leads = self.leader()
            others = [self.fleet.host(number) for number in (*self.members, leaving) if number != leads]
            others = [host for host in others if host.address not in boundary.split()]
            return self.fleet.host(leads) if case.on == LEADER else others[0]
        joining = self.members[-1]
        return self.fleet.host({SPARE: joining, LEAVING: leaving, SERVER: 5}[case.on])

    def _urls(self) -> list[str]:
        return [f"https://{self.fleet.host(number).address}:2379" for number in self.members]

    def _writers(self) -> Writers:
        pki = self.fleet.directory / "pki"
        tls = TlsFiles(pki / "etcd-ca.crt", pki / "operator.crt", pki / "operator.key")
        urls = [f"https://{self.fleet.host(number).address}:2379" for number in range(1, 5)]
        return Writers(urls, tls=tls, writers=3)

    def once(self, case: Case) -> Trial:
        """Make the change, strike, and judge; nothing is raised but what is wrong with the trial itself."""
        trial = Trial(case)
        leaving = self.change(case.change)
        try:
            with self._writers() as writers:
                self._run(trial, leaving)
                trial.written = writers.stop()
                self._judge(writers)
        except Exception as error:  # noqa: BLE001 - it is told in the table
            trial.wrong = f"{type(error).__name__}: {error}"
        return trial

    def _run(self, trial: Trial, leaving: int) -> None:
        case, fleet, began = trial.case, self.fleet, time.monotonic()
        clock = wrong_clock(case.clock) if case.clock else {}
        with Held(fleet, "apply", fleet.spec, "--auto-approve", **clock) as run:
            boundary = run.until(case.is_at) if case.at else ""
            host = self._struck(case, boundary, leaving)
            if not case.at:
                undo = nothing
            elif case.middle:
                with in_the_middle(host) as is_there:
                    run.free()
                    assert wait_until(is_there, timeout=60), "it was never in the middle"
                    undo = case.strike(fleet, host, run)
            else:
                undo = case.strike(fleet, host, run)
                run.free()
            if case.undone < ENDED:
                run.ends_within(case.undone)
                undo()
            trial.first = run.end()
            trial.first_took = time.monotonic() - began
            if case.undone >= ENDED:
                undo()
        assert trial.first.code in case.codes, f"exit code {trial.first}"
        said = " ".join(trial.first.err.replace("│", " ").split())
        assert case.says in said, f"it does not say {case.says!r}: {trial.first}"
        assert "\033" not in said, f"it moves the cursor: {trial.first}"
        if trial.first.code != 0:
            began = time.monotonic()
            trial.then = fleet.apply(expect=None) if case.again else fleet.resume(expect=None)
            trial.then_took = time.monotonic() - began
            assert trial.then.code == 0, f"then {trial.then}"

    def _judge(self, writers: Writers) -> None:
        """Check that the cluster is as the spec has it, and that nothing was lost on the way."""
        again = self.fleet.apply()
        assert "No changes" in again.out, again
        self.fleet.await_status("3 of 3 voters serve")
        assert (lost := writers.lost(self._urls())) == 0, f"{lost} acknowledged writes are lost"
        assert wait_until(lambda: len(set(self._hashes())) == 1, timeout=30), "the members disagree"

    def _hashes(self) -> list[int]:
        """Return the hash of all keys on each member, at one revision."""
        hosts = [self.fleet.host(number) for number in self.members]

        def ask(*arguments: str) -> Any:
            return json.loads(etcdctl(self.fleet, hosts, "endpoint", *arguments, "--write-out=json"))

        revision = min(one["Status"]["header"]["revision"] for one in ask("status"))
        return [one["HashKV"]["hash"] for one in ask("hashkv", f"--rev={revision}")]
