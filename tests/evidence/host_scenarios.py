"""Changes of clusters on systemd hosts with three real kube-apiservers: what writers of both notice.

python -m tests.evidence.host_scenarios [--versions 3.6.16,…] [--out FILE]
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from etcdplan.hosts.processes import wait_until
from etcdplan.lab.writers import TlsFiles, Writers
from tests.evidence.api_clients import Clients
from tests.evidence.bench import header, write
from tests.support.fleet import Fleet
from tests.support.kubernetes import DROP_IN, ENVIRONMENT, UNIT, ControlPlane

WHAT = """\
Five members (Debian's 3.4.23: three) and three kube-apiservers 1.34 on systemd hosts of the test bed, over SSH. During
every change 20 writers put keys into etcd over all client endpoints (a deadline of 0.5 s a request), and a client of
each API server creates ConfigMaps. *Gap*: the longest interval in which no writer got an acknowledgement, *etcd*: of
the 20, *API*: of the three. *Failed*: requests to an API server that failed though it was ready before, then and
after; those while one restarts or is stopped are not counted. *Lost*: acknowledged keys and objects that are not there
afterwards. Where a member fails first, the writers begin when the others serve again: what etcd and kube-apiserver do
by themselves is not counted. Wanted: gap of etcd 0.5 s where the member did not lead and in rolling changes, none
failed with `connect: all`, none lost, and afterwards a plan without changes."""
DEBIAN = "3.4.23"
SERVERS = ("cp1", "cp2", "cp3")
FORMS = (UNIT, DROP_IN, ENVIRONMENT)
_PATIENCE = 900


@dataclass(frozen=True)
class Row:
    """What came of one change."""

    version: str
    change: str
    seconds: float
    gap: float
    api_gap: float
    requests: int
    failed: int
    lost: int
    wrong: str

    def __str__(self) -> str:
        gaps = f"{self.gap:.2f} | {self.api_gap:.2f}" if self.requests else " | "
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
    settings: dict[str, str] = field(default_factory=dict)
    own: dict[str, str] = field(default_factory=dict)
    told: list[Row] = field(default_factory=list)
    tell: Callable[[Row], None] = lambda _: None

    @property
    def hooked(self) -> Path:
        return self.fleet.directory / "hooked"

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
        try:
            out, err = process.communicate(timeout=_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
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
        self._note(Row(self.version, self._bootstrap(), seconds, 0, 0, 0, 0, 0, self._unsettled()))

    def _bootstrap(self) -> str:
        source = "archive" if self.source else "Debian's package"
        return f"bootstrap of {len(self.members)} ({source}) + {len(SERVERS)}"

    def change(self, name: str, edit: Callable[[], None]) -> None:
        """Edit, apply, and note what the writers noticed."""
        pki = self.fleet.directory / "pki"
        tls = TlsFiles(pki / "etcd-ca.crt", pki / "operator.crt", pki / "operator.key")
        before = self.urls()
        edit()
        writers = Writers(before, tls=tls)
        clients = Clients(self.plane, f"run{len(self.told)}")
        with clients.writing(), writers:
            _pass(3)
            seconds = self.apply()
            _pass(3)
        report = writers.report()
        beyond = clients.beyond()
        for failure in beyond:
            print(f"  {failure}", flush=True)
        lost = writers.lost(self.urls()) + clients.lost()
        requests = len(clients.acknowledged) + len(clients.failures)
        self._note(
            Row(
                self.version,
                name,
                seconds,
                report.longest_gap,
                clients.gap,
                requests,
                len(beyond),
                lost,
                self._unsettled(),
            )
        )

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


def debian(place: Place) -> None:
    """What is shown with the packaged etcd."""
    place.found()
    place.change("a flag, rolling", lambda: place.settings.update(quotaBackend="3GiB"))


def all_of_it(place: Place) -> None:
    """What is shown with every other version; hosts 1 to 5 are for members."""
    place.found()
    place.change("a flag, rolling", lambda: place.settings.update(quotaBackend="3GiB"))

    def follower() -> int:
        leads = place.leader()
        return next(number for number in place.members if number != leads)

    place.change("replace a follower, disk lost", lambda: place.fail_disk(follower()))

    def now(*members: int) -> Callable[[], None]:
        return lambda: place.members.__setitem__(slice(None), members)

    place.change("scale 5 → 3", now(1, 2, 3))
    place.change("scale 3 → 5", now(1, 2, 3, 4, 5))
    now(1, 2, 3)()
    place.apply()

    def lose_leader(spare: int) -> None:
        lost = place.leader()
        place.cut_off(lost)
        place.members[place.members.index(lost)] = spare
        for name, member in place.own.items():
            if member == f"member{lost}":
                place.own[name] = f"member{spare}"

    place.change("replace the leader, host cut off", lambda: lose_leader(4))
    place.define_hook()
    bound = {name: f"member{n}" for name, n in zip(SERVERS, place.members, strict=True)}
    place.change("to `connect: own`", lambda: place.own.update(bound))
    place.change("own: replace a follower, disk lost", lambda: place.fail_disk(follower()))
    assert len(place.hooked.read_text().splitlines()) == 2, place.hooked.read_text()
    place.change("own: replace the leader, host cut off", lambda: lose_leader(5))
    assert len(place.hooked.read_text().splitlines()) == 4, place.hooked.read_text()
    place.change("to `connect: all`", place.own.clear)


@contextmanager
def place_for(version: str, directory: Path) -> Iterator[Place]:
    """Start the hosts for a version of etcd."""
    packaged = version == DEBIAN
    bare = 3 if packaged else 8
    with Fleet.up(directory, bare, etcd=False, debian=3 if packaged else 0) as fleet:
        first = 1 if packaged else 6
        places = {name: (fleet.host(first + n), FORMS[n]) for n, name in enumerate(SERVERS)}
        plane = ControlPlane(directory, places)
        members = [4, 5, 6] if packaged else [1, 2, 3, 4, 5]
        yield Place(fleet, plane, version, members, "" if packaged else fleet.archive(version))


def table(rows: list[Row], failures: list[str]) -> str:
    """Return what came of it."""
    lines = [
        "| etcd | change | took, s | gap etcd, s | gap API, s | API requests | failed | lost | settled |",
        "|---|---|---:|---:|---:|---:|---:|---:|---|",
        *map(str, rows),
    ]
    return "\n".join([*lines, "", "## Failures", "", *(failures or ["None."])])


def main() -> None:
    """Go through all changes with one version after the other."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--versions", default="3.5.35,3.6.16,3.7.3,3.4.23")
    parser.add_argument("--out", type=Path, default=Path("docs/evidence/host-scenarios.md"))
    given = parser.parse_args()
    heading = header(
        "Changes on hosts", f"python -m tests.evidence.host_scenarios --versions {given.versions}", WHAT
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
                (debian if version == DEBIAN else all_of_it)(place)
            except Exception as error:  # noqa: BLE001 - it is told in the table
                failures.append(f"- {version}: {type(error).__name__}: {error}")
                print(failures[-1], place.fleet.logs()[-4000:], flush=True)
        write(given.out, f"{heading}{table(rows, failures)}\n", lambda _: None)
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
