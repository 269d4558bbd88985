"""Restores on systemd hosts over SSH, under real kube-apiservers."""

import json
import time
from pathlib import Path

import pytest

from etcdplan.hosts.processes import wait_until
from etcdplan.lab.binaries import etcd_binaries
from tests.support.backups import with_backups
from tests.support.fleet import VERSION, Fleet
from tests.support.kubernetes import DROP_IN, ENVIRONMENT, OBJECTS, UNIT, ControlPlane

pytestmark = [pytest.mark.bed, pytest.mark.timeout(600)]

FORMS = {"cp1": UNIT, "cp2": DROP_IN, "cp3": ENVIRONMENT}
SLEEPER = "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n"


class Restoring:
    """Three hosts with a member and maybe an API server each, and a policy for backups."""

    def __init__(self, fleet: Fleet, directory: Path, servers: int) -> None:
        self.fleet = fleet
        named = list(FORMS.items())[:servers]
        self.plane = ControlPlane(
            directory, {name: (fleet.host(n), form) for n, (name, form) in enumerate(named, 1)}
        )
        fleet.write_spec((1, 2, 3))
        with fleet.spec.open("a") as spec:
            spec.write(f"  apiServers:\n    instances:\n{self.plane.instances()}")
        self.spec = with_backups(fleet.spec)
        self.opens = ("--age-identity", directory / "identity", "--etcd-dir", etcd_binaries(VERSION))
        fleet.apply()

    def write(self, name: str) -> None:
        """Create an object, as soon as that is possible."""

        def written() -> bool:
            try:
                body = {"metadata": {"name": name}, "data": {"written": "once"}}
                return self.plane.request("cp1", "POST", OBJECTS, body)[0] == 201
            except OSError:
                return False

        assert wait_until(written, timeout=60)

    def backup(self) -> str:
        taken = self.fleet.run("backup", "run", self.spec, "--json", *self.opens)
        name: str = json.loads(taken.out)["name"]
        return name

    def active(self, number: int, unit: str) -> bool:
        done = self.fleet.host(number).exec("systemctl", "is-active", unit, check=False)
        return done.stdout.strip() in ("active", "activating")

    def pid(self, number: int, unit: str) -> str:
        shown = self.fleet.host(number).exec("systemctl", "show", "-p", "MainPID", "--value", unit)
        return shown.stdout.strip()


def test_all_data_is_gone_and_comes_back(tmp_path: Path) -> None:
    with Fleet.up(tmp_path, 3) as fleet:
        restoring = Restoring(fleet, tmp_path, 3)
        plane = restoring.plane
        for unit in ("kube-scheduler.service", "kubelet.service"):
            fleet.host(1).put(f"/etc/systemd/system/{unit}", SLEEPER)
        fleet.host(1).exec("systemctl", "daemon-reload")
        fleet.host(1).exec("systemctl", "start", "kube-scheduler")
        scheduler = restoring.pid(1, "kube-scheduler")
        restoring.write("before")
        name = restoring.backup()
        restoring.write("after")
        seen = plane.request("cp1", "GET", OBJECTS)[1]["metadata"]["resourceVersion"]
        for number in (1, 2, 3):
            fleet.host(number).exec("systemctl", "kill", "--signal=KILL", "etcd")
            fleet.host(number).exec("systemctl", "stop", "etcd")
            fleet.host(number).exec("sh", "-c", f"rm -rf /var/lib/etcd/member{'/wal' if number == 1 else ''}")
        assert "Refused" in fleet.run("plan", restoring.spec, expect=5).out
        # One that is no unit of the spec holds the restore up.
        fleet.host(2).exec("mkdir", "/usr/local/bin/other")
        fleet.host(2).exec("cp", "/bin/sleep", "/usr/local/bin/other/kube-apiserver")
        fleet.host(2).exec("systemd-run", "--unit=other", "/usr/local/bin/other/kube-apiserver", "infinity")
        refused = fleet.run("restore", restoring.spec, name, "--auto-approve", *restoring.opens, expect=5)
        assert "API server other.service on" in " ".join(refused.out.split())
        fleet.host(2).exec("systemctl", "stop", "other")
        done = fleet.run("restore", restoring.spec, name, "--auto-approve", *restoring.opens)
        assert "cannot be told: nobody serves" in done.err
        assert wait_until(lambda: all(map(plane.ready, FORMS)), timeout=60)
        for server in FORMS:
            assert plane.objects(server) == {"before"}
            # Who watches on from before is told to list anew, and does not wait for what never comes.
            watch = f"{OBJECTS}?watch=1&timeoutSeconds=20&resourceVersion={seen}"
            status, event = plane.request(server, "GET", watch, timeout=30)
            assert (status == 410) or event["object"]["code"] == 410, (status, event)
        restoring.write("then")
        fleet.settled(3)
        assert restoring.pid(1, "kube-scheduler") not in (scheduler, "0")
        assert not restoring.active(1, "kubelet")
        kept = fleet.host(1).exec("sh", "-c", "ls /var/lib/etcd/set-aside-*/member")
        assert kept.stdout.split() == ["snap"]
        data = fleet.host(1).exec("sh", "-c", "stat -c '%U %a' /var/lib/etcd/member /var/lib/etcd/member/wal")
        assert data.stdout.split("\n")[:2] == ["etcd 700", "etcd 700"]


def test_what_was_stopped_stays_out_over_a_power_cut_and_so_does_an_old_member_that_comes_late(
    tmp_path: Path,
) -> None:
    with Fleet.up(tmp_path, 4) as fleet:
        restoring = Restoring(fleet, tmp_path, 1)
        restoring.write("before")
        name = restoring.backup()
        restoring.write("after")
        fleet.host(3).power_cut()
        old, new = fleet.host(3).address, fleet.host(4).address
        text = restoring.spec.read_text().replace("member3", "member4").replace(old, new)
        restoring.spec.write_text(text)
        fleet.await_status("2 of 3 voters serve")
        asked = ("restore", restoring.spec, name, "--auto-approve", *restoring.opens)
        assert "--host-gone" in fleet.run(*asked, expect=8).out
        asked += ("--host-gone", old)

        process = fleet.start(*asked)
        held = ("test", "-e", "/var/lib/etcdplan/held/etcd.service")
        assert wait_until(lambda: fleet.host(2).exec(*held, check=False).returncode == 0, timeout=200)
        process.kill()
        _, said = process.communicate(timeout=30)
        assert "1 configmaps" in said
        assert "configmaps default/after" in said
        for number in (1, 2):
            fleet.host(number).power_cut()
            fleet.host(number).boot()
        assert wait_until(lambda: restoring.active(1, "ssh"), timeout=60)
        time.sleep(5)
        assert not restoring.active(1, "etcd")
        assert not restoring.active(2, "etcd")
        assert not restoring.active(1, "kube-apiserver-cp1")
        assert "is being restored" in " ".join(fleet.run("plan", restoring.spec).out.split())

        fleet.runners += 1
        fleet.run("apply", "--resume", restoring.spec, *restoring.opens)
        assert wait_until(lambda: restoring.plane.ready("cp1"), timeout=60)
        assert restoring.plane.objects("cp1") == {"before"}

        fleet.host(3).boot()
        assert wait_until(lambda: restoring.active(3, "etcd"), timeout=60)
        restoring.write("then")
        assert f"take etcd of member3 on {old} out" in fleet.run("plan", restoring.spec).out
        fleet.run("apply", restoring.spec, "--auto-approve")
        assert not restoring.active(3, "etcd")
        assert "matches the specification" in fleet.run("plan", restoring.spec).out
        assert restoring.plane.objects("cp1") == {"before", "then"}
