"""Snapshots from what is left of a cluster, and clusters that come back from them: real etcd, real disks."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from etcdplan.backup.cold import opened_copy
from etcdplan.backup.etcd_tools import find_tools
from etcdplan.hosts.data_copy import LocalData
from etcdplan.hosts.processes import ProcessId, processes_with, wait_until
from etcdplan.lab.binaries import etcd_binaries
from tests.support.backups import with_backups
from tests.support.cli import Lab
from tests.support.etcd_process import EtcdCluster

pytestmark = [pytest.mark.host, pytest.mark.timeout(300)]

VERSION = "3.6.16"


def files(root: Path) -> dict[str, str]:
    """Return the content of all files below a directory, and when they were changed."""
    return {
        str(path): f"{hashlib.sha256(path.read_bytes()).hexdigest()} {path.stat().st_mtime_ns}"
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def write(lab: Lab, *numbers: int, version: str = VERSION) -> None:
    for number in numbers:
        assert lab.etcdctl("put", f"/registry/things/{number}", "{}", version=version).returncode == 0


@pytest.mark.parametrize("version", ["3.5.35", "3.6.16", "3.7.3"])
def test_a_snapshot_from_a_member_that_was_killed_has_what_was_only_in_its_log(
    lab: Lab, version: str
) -> None:
    lab.up(1, version=version)
    write(lab, *range(20), version=version)
    lab.break_("member1", "kill")
    data = lab.root(1) / "var/lib/etcd"
    before = files(data)
    spec = with_backups(lab.spec)
    opens = ("--age-identity", lab.place.path / "identity")
    taken = json.loads(lab.run("backup", "run", spec, "--from-data", "member1", "--json", *opens).out)
    assert files(data) == before
    assert taken["trial"]["keys"] == 20
    assert taken["origin"]["kind"] == "data"
    assert 20 < taken["origin"]["index"] <= taken["origin"]["last"]


def test_a_copy_of_a_volume_becomes_a_backup_and_the_directory_of_a_live_etcd_does_not(
    lab: Lab, tmp_path: Path
) -> None:
    lab.up(1)
    write(lab, *range(20))
    spec = with_backups(lab.spec)
    take = ("backup", "run", spec, "--age-identity", lab.place.path / "identity", "--from-volume")
    data, copy = lab.root(1) / "var/lib/etcd", tmp_path / "volume"
    shutil.copytree(data, copy)
    write(lab, *range(20, 30))

    assert f"An etcd runs on the data of host localhost:{data}" in plain(lab.run(*take, data, expect=6).err)
    assert "There are no data of an etcd" in plain(lab.run(*take, tmp_path, expect=5).err)
    lab.run(*take, copy, "--without-quorum", expect=64)
    assert not list((lab.place.path / "backups").glob("*"))

    before = files(copy)
    taken = json.loads(lab.run(*take, copy, "--json").out)
    assert files(copy) == before
    assert (taken["member"], taken["origin"]["kind"]) == ("member1", "data")
    assert taken["trial"]["keys"] == 20
    assert taken["name"] in lab.run("backup", "list", spec).out
    asked = lab.run("restore", spec, taken["name"], *take[3:5], expect=None)
    assert "they are as old as that etcd's end" in plain(asked.out + asked.err)
    assert "was written since" not in plain(asked.out + asked.err)

    log = tmp_path / "log"
    (copy / "member/wal").rename(log)
    assert json.loads(lab.run(*take, copy, "--volume-log", log, "--json").out)["trial"]["keys"] == 20


def plain(text: str) -> str:
    return " ".join(text.replace("│", " ").split())


def test_a_copy_of_a_member_is_a_stranger_to_the_others(tmp_path: Path) -> None:
    """etcd dials the others with `--force-new-cluster`: a copy with the member's identity would stand in for it."""
    with EtcdCluster(VERSION, 3, tmp_path) as cluster:
        first, _, third = cluster.processes.values()
        third.stop()
        data = LocalData("host", tmp_path / third.name, None)
        log = tmp_path / f"{first.name}.log"
        said = len(log.read_text())
        with opened_copy(data, find_tools(VERSION, [etcd_binaries(VERSION)]), third.name) as copy:
            status = copy.etcd.status(timeout=5)
            assert status.cluster_id != first.status().cluster_id
            assert copy.whole
            time.sleep(1)
        heard = [json.loads(line) for line in log.read_text()[said:].splitlines()]

        assert not [one for one in heard if one["msg"] == "peer became active"]
        assert not [one for one in heard if "established TCP streaming connection" in one["msg"]]


@pytest.mark.parametrize("version", ["3.4.23", "3.5.35", "3.6.16", "3.7.3"])
def test_an_isolated_etcd_ends_with_the_process_that_started_it(tmp_path: Path, version: str) -> None:
    program = f"""
import time
from pathlib import Path
from etcdplan.backup.etcd_tools import find_tools
from etcdplan.backup.isolated import isolated_etcd
here = Path({str(tmp_path)!r})
tools = find_tools({version!r}, [Path({str(etcd_binaries(version))!r})])
with isolated_etcd(tools, here / "data", here, name="alone", token="t"):
    print("serves", flush=True)
    time.sleep(60)
"""
    mark = {"ETCDPLAN_TEST_OF": str(tmp_path)}
    run = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, env={**os.environ, **mark}
    )

    def left() -> list[ProcessId]:
        found = processes_with("ETCDPLAN_TEST_OF", lambda value: value == str(tmp_path))
        return [one for one in found if one.pid != run.pid]

    assert run.stdout is not None
    try:
        with run.stdout:
            assert run.stdout.readline() == b"serves\n"
        assert any("--name=alone" in one.argv() for one in left())
        run.kill()
        run.wait(10)
        assert wait_until(lambda: not left(), timeout=10)
    finally:
        run.kill()
        run.wait(10)
        for one in left():
            one.send(signal.SIGKILL)


@pytest.mark.parametrize("how", ["serving", "stopped"])
def test_a_lost_majority_comes_back_from_a_survivor(lab: Lab, how: str) -> None:
    lab.up(3)
    write(lab, *range(20))
    spec = with_backups(lab.spec)
    opens = ("--age-identity", lab.place.path / "identity")
    assert "has quorum" in lab.run("recover", spec, "--auto-approve", *opens, expect=5).err
    before = lab.observe(spec).membership.get()
    lab.break_("member1")
    lab.break_("member2")
    if how == "stopped":
        lab.break_("member3", "kill")
    else:
        assert "No member serves" in lab.run("backup", "run", spec, *opens, expect=5).err
    refused = lab.run("plan", spec, expect=5).out
    assert "etcdplan recover" in refused
    shown = lab.run("recover", spec, "--plan", *opens)
    assert "member3" in shown.err and not (lab.place.path / "backups").exists()
    lab.run("recover", spec, "--auto-approve", *opens)
    taken = json.loads(lab.run("backup", "list", spec, "--json").out)["destinations"][0]["backups"][0]
    assert (taken["origin"]["kind"], taken["member"]) == (
        "data" if how == "stopped" else "survivor",
        "member3",
    )
    assert lab.etcdctl("get", "/registry/things/19", "--print-value-only").stdout == "{}\n"
    after = lab.observe(spec).membership.get()
    assert before and after and after.cluster_id != before.cluster_id
    lab.settled(spec)


def failpoint(boundary: str) -> dict[str, str]:
    return {"ETCDPLAN_TEST_BUILD": "1", "ETCDPLAN_FAILPOINT": boundary}


def test_a_recovery_that_dies_changed_nothing_before_its_backup_and_is_a_restore_after_it(lab: Lab) -> None:
    lab.up(3)
    write(lab, *range(20))
    spec = with_backups(lab.spec)
    opens = ("--age-identity", lab.place.path / "identity")
    for member in ("member1", "member2"):
        lab.break_(member)
    lab.break_("member3", "kill")
    backups, before = lab.place.path / "backups", files(lab.place.hosts)
    run = lab.start("recover", spec, "--auto-approve", *opens, env={"TMPDIR": str(lab.directory)})
    run.wait_for("Taking a snapshot")
    run.process.kill()
    run.process.wait(10)
    assert files(lab.place.hosts) == before
    assert not list(backups.glob("*.json"))
    # It is there, and the first effect is not made.
    died = lab.run("recover", spec, "--auto-approve", *opens, env=failpoint("effect:1:before"), expect=-9)
    assert "Nothing else was changed yet." in died.err
    assert len(list(backups.glob("*.json"))) == 1
    assert not any(
        "restore" in record.read_text() for record in lab.place.hosts.glob("*/var/lib/etcdplan/record.json")
    )
    # Now one host knows of the restore: recover has nothing more to do with it.
    lab.run("recover", spec, "--auto-approve", *opens, env=failpoint("effect:1:after"), expect=-9)
    assert "is under way" in lab.run("recover", spec, "--auto-approve", *opens, expect=5).err
    assert len(list(backups.glob("*.json"))) == 2
    lab.new_runner()
    lab.run("apply", "--resume", spec, *opens, env=failpoint("effect:5:before"), expect=-9)
    lab.new_runner()
    lab.run("apply", "--resume", spec, *opens)
    assert lab.etcdctl("get", "/registry/things/19", "--print-value-only").stdout == "{}\n"
    lab.settled(spec)


def test_what_makes_no_sense_to_recover_is_refused(lab: Lab) -> None:
    lab.up(3)
    spec = with_backups(lab.spec)
    opens = ("--age-identity", lab.place.path / "identity")
    assert "says nothing of backups" in lab.run("recover", lab.spec, "--plan", *opens, expect=1).err
    assert "There is no terminal" in lab.run("recover", spec, *opens, expect=64).err
    for member in ("member1", "member2", "member3"):
        lab.break_(member, "kill")
    # They only have to be started.
    assert "can be brought up with all its data" in lab.run("recover", spec, "--plan", *opens, expect=5).err
    lab.break_("member1")
    lab.break_("member2")
    # A process that was started without quorum answers nobody, and its data are not copied while it runs.
    lab.start_by_hand(3)
    refused = lab.run("recover", spec, "--plan", *opens, expect=5)
    assert "runs without answering" in refused.err and "--from MEMBER" in refused.err
    lab.unit(3).stop()
    assert (
        "No member9 is left" in lab.run("recover", spec, "--plan", "--from", "member9", *opens, expect=5).err
    )
    # The log is damaged where the last hard state is: the others have nothing, so this is what there is.
    segment = max((lab.root(3) / "var/lib/etcd/member/wal").glob("*.wal"))
    segment.write_bytes(segment.read_bytes()[:64])
    silent = lab.run("recover", spec, "--plan", *opens, expect=5)
    assert "Nothing is known of member3" in silent.err and "Nobody is left" in silent.err
