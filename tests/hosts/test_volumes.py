"""A snapshot of a member's volume on a systemd host, and the way back from it: docs/backups.md, examples/volume."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from etcdplan.hosts.processes import wait_until
from tests.hosts.test_restore_over_ssh import Restoring
from tests.support.fleet import Fleet, killed

pytestmark = [pytest.mark.bed, pytest.mark.timeout(600)]

EXAMPLE = Path(__file__).parents[2] / "examples/volume"
DATA = "/var/lib/etcd"
KEEPER = "/run/etcdplan-freeze/state"


class Volumes(Restoring):
    """Three hosts whose data have volumes of their own, which are files of this machine; hooks as in the example."""

    def __init__(self, fleet: Fleet, directory: Path) -> None:
        for number in (1, 2, 3):
            fleet.host(number).empty_disk(DATA, 512)
        super().__init__(fleet, directory, 1)
        self.images, self.snapshots = directory / "images", directory / "snapshots"
        self.images.mkdir()
        for host in fleet.bed.hosts:
            (self.images / f"{host.address}-etcd.img").symlink_to(host.image_of(DATA))
        self.config = directory / "config.yaml"
        text = (EXAMPLE / "config.yaml").read_text()
        for there, here in (
            ("/usr/local/lib/etcdplan", EXAMPLE),
            ("/var/lib/libvirt/images", self.images),
            ("/srv/snapshots", self.snapshots),
        ):
            assert there in text
            text = text.replace(there, str(here))
        self.config.write_text(
            f"{text}  fails: {{command: [/bin/false], timeout: 20s}}\n"
            "  hangs: {command: [/bin/sh, -c, sleep 600], timeout: 2s}\n"
            "  waits: {command: [/bin/sh, -c, sleep 600], timeout: 10s}\n"
            "  slow: {command: [/bin/true], timeout: 60s}\n"
        )
        self.config.chmod(0o600)
        fleet.environment["ETCDPLAN_CONFIG"] = str(self.config)

    @contextmanager
    def writing(self) -> Iterator[list[str]]:
        """Create one object after the other meanwhile; gives the names of those that were acknowledged."""
        done: list[str] = []
        ended = threading.Event()

        def write() -> None:
            while not ended.is_set():
                self.write(name := f"during-{len(done)}")
                done.append(name)

        thread = threading.Thread(target=write)
        thread.start()
        try:
            yield done
        finally:
            ended.set()
            thread.join(timeout=120)

    def frozen(self) -> list[int]:
        """Return the numbers of the hosts whose keeper says that something is frozen."""
        said = {n: self.fleet.host(n).exec("cat", KEEPER, check=False).stdout.strip() for n in (1, 2, 3)}
        return [number for number, state in said.items() if state == "frozen"]


def plain(said: str) -> str:
    return " ".join(said.replace("│", " ").split())


def test_a_frozen_volume_becomes_a_backup_that_is_restored(tmp_path: Path) -> None:
    with Fleet.up(tmp_path, 3) as fleet:
        volumes = Volumes(fleet, tmp_path)
        volumes.write("before")
        with volumes.writing() as done:
            assert wait_until(lambda: len(done) > 3, timeout=60)
            acknowledged = list(done)
            took = fleet.run("backup", "volume", volumes.spec, "--hook", "copy-volume").out
            assert wait_until(lambda: len(done) > len(acknowledged) + 3, timeout=60)
        assert f"({DATA}), which was frozen for" in took
        assert not volumes.frozen()
        volumes.write("after")

        [snapshot] = volumes.snapshots.iterdir()
        member = snapshot.stem
        made = subprocess.run(
            [EXAMPLE / "backup-of-volume", volumes.spec, snapshot, "--json", *volumes.opens],
            cwd=tmp_path,
            env={
                **fleet.environ(),
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            },
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert made.returncode == 0, made
        manifest = json.loads(made.stdout)
        assert (manifest["member"], manifest["origin"]["kind"]) == (member, "data")
        assert manifest["verified"] == "restore"

        fleet.run("restore", volumes.spec, manifest["name"], "--auto-approve", *volumes.opens)
        assert wait_until(lambda: volumes.plane.ready("cp1"), timeout=60)
        assert {"before", *acknowledged} <= volumes.plane.objects("cp1")
        assert "after" not in volumes.plane.objects("cp1")
        fleet.settled(3)


def test_nothing_stays_frozen_whatever_ends_the_run(tmp_path: Path) -> None:
    with Fleet.up(tmp_path, 3) as fleet:
        volumes = Volumes(fleet, tmp_path)
        take = ("backup", "volume", volumes.spec, "--hook")

        # The hook fails, hangs, may take too long, is not defined.
        assert "ended with status 1" in plain(fleet.run(*take, "fails", expect=6).err)
        assert "took longer than 2 s" in plain(fleet.run(*take, "hangs", expect=6).err)
        assert "25 s at most" in plain(fleet.run(*take, "slow", expect=5).err)
        assert "does not define it" in plain(fleet.run(*take, "other", expect=5).err)
        assert not volumes.frozen()
        fleet.settled(3)

        # The runner is killed when the file systems are frozen: the host thaws them, 5 s after the hook's time.
        died = fleet.run(
            *take, "waits", expect=None, ETCDPLAN_TEST_BUILD="1", ETCDPLAN_FAILPOINT="effect:1:after"
        )
        assert killed(died), died
        [number] = volumes.frozen()
        assert wait_until(lambda: not volumes.frozen(), timeout=20)
        fleet.host(number).exec("sh", "-c", f"echo > {DATA}/probe && rm {DATA}/probe", timeout=5)
        fleet.await_status("3 of 3 voters serve")

        # What keeps them frozen on the host is killed: they thaw at once, and what the hook took does not count.
        process = fleet.start(*take, "waits")
        assert wait_until(lambda: bool(volumes.frozen()), timeout=60)
        [number] = volumes.frozen()
        fleet.host(number).exec("systemctl", "kill", "--signal=KILL", "etcdplan-freeze")
        assert wait_until(lambda: not volumes.frozen(), timeout=10)
        fleet.host(number).exec("sh", "-c", f"echo > {DATA}/probe && rm {DATA}/probe", timeout=5)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 6
        assert "thawed before" in plain(said)
        fleet.settled(3)

        # Another member stands still already: without tolerance nobody is frozen.
        fleet.host(3).exec("systemctl", "stop", "etcd")
        fleet.await_status("2 of 3 voters serve")
        refused = fleet.run(*take, "copy-volume", expect=None)
        assert refused.code in (5, 6), refused
        assert not volumes.snapshots.exists()


def test_data_without_a_file_system_of_their_own_are_not_frozen(tmp_path: Path) -> None:
    with Fleet.up(tmp_path, 3) as fleet:
        fleet.write_spec((1, 2, 3))
        fleet.apply()
        config = tmp_path / "config.yaml"
        config.write_text("hooks: {never: {command: [/bin/true], timeout: 5s}}")
        config.chmod(0o600)
        said = fleet.run(
            "backup", "volume", fleet.spec, "--hook", "never", ETCDPLAN_CONFIG=str(config), expect=6
        )
        assert "is on the file system of /" in plain(said.err)
        fleet.settled(3)
