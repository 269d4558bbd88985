"""Changes of clusters on systemd hosts with three real kube-apiservers: what writers of both notice.

python -m tests.evidence.host_scenarios [--versions 3.6.16,…] [--only flag,follower,…] [--out FILE]
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from etcdplan.hosts.processes import wait_until
from etcdplan.lab.writers import TlsFiles, Writers
from tests.evidence.api_clients import Clients
from tests.evidence.bench import header, write
from tests.evidence.trace import Trace
from tests.support.fleet import Fleet
from tests.support.kubernetes import DROP_IN, ENVIRONMENT, UNIT, ControlPlane

WHAT = """\
Five members (3.4.23: of Debian's package) and three kube-apiservers 1.34 on systemd hosts of the test bed, over SSH.
During every change 20 writers put keys into etcd over all client endpoints (a deadline of 0.5 s a request), and a
client of each API server creates ConfigMaps. *Gap*: the longest interval in which no writer got an acknowledgement,
*etcd*: of the 20, *API*: of the three. *Slowest*: the longest request of the 20; where that is far beyond its
deadline, the machine did not let the writers run, and the gap says as much of it. *Failed*: requests to an API server
that failed though it was ready before, then and after; those while one restarts or is stopped are not counted.
*Lost*: acknowledged keys and objects that are not there afterwards. Where a member fails first, the writers begin
when the others serve again: what etcd and kube-apiserver do by themselves is not counted. Wanted: gap of etcd 0.5 s
where the member did not lead and in rolling changes, none failed with `connect: all`, none lost, and afterwards a
plan without changes."""
DEBIAN = "3.4.23"
SERVERS = ("cp1", "cp2", "cp3")
FORMS = (UNIT, DROP_IN, ENVIRONMENT)
_PATIENCE = 900
_LONG = 0.35
"""Seconds of a gap from which on it is told what apply did then."""


@dataclass(frozen=True)
class Row:
    """What came of one change."""

    version: str
    change: str
    seconds: float
    gap: float
    slowest: float
    api_gap: float
    requests: int
    failed: int
    lost: int
    wrong: str

    def __str__(self) -> str:
        gaps = f"{self.gap:.2f} | {self.slowest:.2f} | {self.api_gap:.2f}" if self.requests else " | | "
        counted = f"{self.requests} | {self.failed} | {self.lost}" if self.requests else " | | "
        return f"| {self.version} | {self.change} | {self.seconds:.0f} | {gaps} | {counted} | {self.wrong or 'yes'} |"


@dataclass
class Place:
    """A cluster under change."""

    fleet: Fleet
    plane: ControlPlane
    version: str
    members: list[int]
    source: str = ""
    """What the spec says of an archive; without it etcd is there."""
    spares: list[int] = field(default_factory=list)
    settings: dict[str, str] = field(default_factory=dict)
    own: dict[str, str] = field(default_factory=dict)
    told: list[Row] = field(default_factory=list)
    tell: Callable[[Row], None] = lambda _: None
    trace: Trace = field(default_factory=Trace)

    @property
    def hooked(self) -> Path:
        return self.fleet.directory / "hooked"

    def drained(self) -> int:
        """Return how often the hook was called so far."""
        return len(self.hooked.read_text().splitlines()) if self.hooked.exists() else 0

    def spec(self) -> None:
        more = {"source": self.source} if self.source else {}
        self.fleet.write_spec(self.members, version=self.version, **self.settings, **more)
        mode = "    connect: own\n    drain: balancer\n" if self.own else ""
        with self.fleet.spec.open("a") as spec:
            spec.write(f"  apiServers:\n{mode}    instances:\n{self.plane.instances(**self.own)}")

    def define_hook(self) -> None:
        hook, config = self.fleet.directory / "balancer", self.fleet.directory / "config.yaml"
        hook.write_text(f'#!/bin/sh\necho "$@" >>{self.hooked}\n')
        hook.chmod(0o755)
        config.write_text(f"hooks:\n  balancer: {{command: [{hook}]}}\n")
        config.chmod(0o600)
        self.fleet.environment["ETCDPLAN_CONFIG"] = str(config)

    def apply(self) -> float:
        """Apply what the spec says now, and return the seconds that it took."""
        self.spec()
        began = time.monotonic()
        process = self.fleet.start("apply", self.fleet.spec, "--auto-approve")
        out, err = self.trace.read(process, patience=_PATIENCE)
        assert process.returncode == 0, f"exit code {process.returncode}: {out[-2000:]} {err[-3000:]}"
        return time.monotonic() - began

    def leader(self) -> int:
        said = json.loads(self.fleet.run("status", "--json", self.fleet.spec).out)
        host = next(member["host"] for member in said["members"] if member["leader"])
        return next(number for number in self.members if self.fleet.host(number).address == host)

    def urls(self) -> list[str]:
        return [f"https://{self.fleet.host(number).address}:2379" for number in self.members]

    def found(self) -> None:
        """Bootstrap, and note how long it took."""
        seconds = self.apply()
        self._note(Row(self.version, self._bootstrap(), seconds, 0, 0, 0, 0, 0, 0, self._unsettled()))

    def _bootstrap(self) -> str:
        source = "archive" if self.source else "Debian's package"
        return f"bootstrap of {len(self.members)} ({source}) + {len(SERVERS)}"

    def to(self, *members: int) -> None:
        """Let the spec have these members."""
        self.members[:] = members

    def follower(self) -> int:
        """Return a member that does not lead."""
        leads = self.leader()
        return next(number for number in self.members if number != leads)

    def lose_leader(self) -> None:
        """Cut the leader's host off, and let the spec have a host that nobody has had a member on in its place."""
        lost, spare = self.leader(), self.spares.pop(0)
        self.cut_off(lost)
        self.members[self.members.index(lost)] = spare
        for name, member in self.own.items():
            if member == f"member{lost}":
                self.own[name] = f"member{spare}"

    def change(self, name: str, edit: Callable[[], object]) -> None:
        """Edit, apply, and note what the writers noticed."""
        pki = self.fleet.directory / "pki"
        tls = TlsFiles(pki / "etcd-ca.crt", pki / "operator.crt", pki / "operator.key")
        before = self.urls()
        edit()
        writers = Writers(before, tls=tls)
        clients = Clients(self.plane, f"run{len(self.told)}")
        self.trace = Trace()
        with clients.writing(), writers, self.trace.watching(lambda: writers.report().longest_gap, _LONG):
            _pass(3)
            seconds = self.apply()
            _pass(3)
        report = writers.report()
        beyond = clients.beyond()
        moments = [at for at, text in self.trace.lines if text.startswith("---")][-1:]
        for failure in beyond:
            print(f"  {failure}", flush=True)
            moments.append(failure.ended)
        if moments:
            self._note_elections()
        for moment in moments:
            print("\n".join(self.trace.around(moment)), flush=True)
        lost = writers.lost(self.urls()) + clients.lost()
        requests = len(clients.acknowledged) + len(clients.failures)
        self._note(
            Row(
                self.version,
                name,
                seconds,
                report.longest_gap,
                report.slowest,
                clients.gap,
                requests,
                len(beyond),
                lost,
                self._unsettled(),
            )
        )

    def _note_elections(self) -> None:
        """Note what etcd said of leaders, each line at its time: the hosts have this machine's monotonic clock."""
        found = "grep -E 'became|elected|lost leader|overloaded|slow fdatasync'"
        command = f"journalctl --no-pager -o short-monotonic -n 5000 -u etcd | {found}"
        for host in self.fleet.bed.hosts:
            said = host.exec("sh", "-c", command, check=False).stdout if host.running else ""
            for line in said.splitlines():
                at, _, text = line.removeprefix("[").partition("] ")
                self.trace.lines.append((float(at), f"{host.name}: {text[:200]}"))

    def fail_disk(self, number: int) -> None:
        """Take a member's data away, as a new disk does; the others go on."""
        host = self.fleet.host(number)
        host.exec("systemctl", "kill", "--signal=KILL", "etcd")
        host.exec("systemctl", "stop", "etcd")
        host.exec("sh", "-c", "rm -rf /var/lib/etcd/member /var/lib/etcd/default/member")
        self._others_serve()

    def cut_off(self, number: int) -> None:
        """Cut a member's host off; return when the others and all API servers go on, those of it alone apart."""
        self.fleet.host(number).cut_network()
        self._others_serve()
        alone = [name for name, member in self.own.items() if member == f"member{number}"]
        well = [name for name in SERVERS if name not in alone]
        assert wait_until(lambda: self._write_all(well), timeout=180), "the API servers do not go on"

    def _write_all(self, names: list[str]) -> bool:
        clients = Clients(self.plane, f"try{time.monotonic_ns()}")
        with clients.writing():
            _pass(5)
        done = {key.split("-")[1] for key in clients.acknowledged}
        return not any(failure.name in names for failure in clients.failures) and done >= set(names)

    def _others_serve(self) -> None:
        count = len(self.members)
        self.fleet.await_status(f"{count - 1} of {count} voters serve", timeout=120)

    def _unsettled(self) -> str:
        said = self.fleet.plan(expect=None)
        return "" if "No changes" in said else f"no: {said[:300]}"

    def _note(self, row: Row) -> None:
        self.told.append(row)
        self.tell(row)


def _pass(seconds: float) -> None:
    due = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() >= due, timeout=seconds + 60)


def change_flag(place: Place) -> None:
    """Roll a flag through all members."""
    place.change("a flag, rolling", lambda: place.settings.update(quotaBackend="3GiB"))


def replace_follower(place: Place) -> None:
    """Give a member that does not lead an empty disk."""
    place.change("replace a follower, disk lost", lambda: place.fail_disk(place.follower()))


def scale(place: Place) -> None:
    """Go from five members to three and back."""
    five = tuple(place.members)
    place.change("scale 5 → 3", lambda: place.to(*five[:3]))
    place.change("scale 3 → 5", lambda: place.to(*five))


def replace_leader(place: Place) -> None:
    """Cut the leader of three members off."""
    place.change("replace the leader, host cut off", place.lose_leader)


def own_members(place: Place) -> None:
    """Give each API server a member of its own, lose a member's disk and the leader, and go back."""
    place.define_hook()
    bound = {name: f"member{n}" for name, n in zip(SERVERS, place.members, strict=True)}
    place.change("to `connect: own`", lambda: place.own.update(bound))
    for what, fail in (
        ("own: replace a follower, disk lost", lambda: place.fail_disk(place.follower())),
        ("own: replace the leader, host cut off", place.lose_leader),
    ):
        before = place.drained()
        place.change(what, fail)
        assert place.drained() == before + 2, place.hooked.read_text()
    place.change("to `connect: all`", place.own.clear)


OF_FIVE: dict[str, Callable[[Place], None]] = {
    "flag": change_flag,
    "follower": replace_follower,
    "scale": scale,
}
OF_THREE: dict[str, Callable[[Place], None]] = {"leader": replace_leader, "own": own_members}
ALL = (*OF_FIVE, *OF_THREE)


def go_through(place: Place, chosen: Collection[str]) -> None:
    """Found five members, and do what is chosen: first what is shown with all of them, then with three."""
    place.found()
    for name, show in OF_FIVE.items():
        if name in chosen:
            show(place)
    if not OF_THREE.keys() & set(chosen):
        return
    place.spares = place.members[3:]
    place.to(*place.members[:3])
    place.apply()
    for name, show in OF_THREE.items():
        if name in chosen:
            show(place)


@contextmanager
def place_for(version: str, directory: Path) -> Iterator[Place]:
    """Start the hosts for a version of etcd: three bare ones for API servers, and five for members."""
    packaged = version == DEBIAN
    with Fleet.up(directory, 3 if packaged else 8, etcd=False, debian=5 if packaged else 0) as fleet:
        places = {name: (fleet.host(1 + n), FORMS[n]) for n, name in enumerate(SERVERS)}
        plane = ControlPlane(directory, places)
        source = "" if packaged else fleet.archive(version)
        yield Place(fleet, plane, version, [4, 5, 6, 7, 8], source)


def table(rows: list[Row], failures: list[str]) -> str:
    """Return what came of it."""
    lines = [
        "| etcd | change | took, s | gap etcd, s | slowest, s | gap API, s | API requests | failed | lost | settled |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---|",
        *map(str, rows),
    ]
    return "\n".join([*lines, "", "## Failures", "", *(failures or ["None."])])


def main() -> None:
    """Go through all changes with one version after the other."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--versions", default="3.5.35,3.6.16,3.7.3,3.4.23")
    parser.add_argument("--only", default=",".join(ALL), help=f"of {', '.join(ALL)}; the bootstrap always")
    parser.add_argument("--out", type=Path, default=Path("docs/evidence/host-scenarios.md"))
    given = parser.parse_args()
    heading = header(
        "Changes on hosts", f"python -m tests.evidence.host_scenarios {' '.join(sys.argv[1:])}", WHAT
    )
    rows: list[Row] = []
    failures: list[str] = []
    for version in given.versions.split(","):

        def tell(row: Row) -> None:
            rows.append(row)
            print(row, flush=True)

        with tempfile.TemporaryDirectory() as name, place_for(version, Path(name)) as place:
            place.tell = tell
            try:
                go_through(place, given.only.split(","))
            except Exception as error:  # noqa: BLE001 - it is told in the table
                failures.append(f"- {version}: {type(error).__name__}: {error}")
                print(failures[-1], place.fleet.logs()[-4000:], flush=True)
        write(given.out, f"{heading}{table(rows, failures)}\n", lambda _: None)
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
