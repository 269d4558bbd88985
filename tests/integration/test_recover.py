"""Snapshots from what is left of a cluster, and clusters that come back from them: real etcd, real disks."""

import hashlib
import json
import time
from pathlib import Path

import pytest

from etcdplan.backup.cold import opened_copy
from etcdplan.backup.etcd_tools import find_tools
from etcdplan.hosts.data_copy import LocalData
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


def test_etcd_3_4_gives_the_database_alone_and_that_is_said(lab: Lab) -> None:
    version = "3.4.23"
    lab.up(1, version=version)
    write(lab, *range(20), version=version)
    lab.break_("member1", "kill")
    data = lab.root(1) / "var/lib/etcd"
    before = files(data)
    spec = with_backups(lab.spec)
    opens = ("--age-identity", lab.place.path / "identity", "--etcd-dir", etcd_binaries(version))
    said = lab.run("backup", "run", spec, "--from-data", lab.address(1), *opens).out
    assert "without its log: the writes of its last moments are missing" in said
    assert files(data) == before
    taken = json.loads(lab.run("backup", "list", spec, "--json").out)["destinations"][0]["backups"][0]
    assert taken["origin"]["kind"] == "database"
    assert 15 <= taken["trial"]["keys"] <= 20
    lab.run("restore", spec, "--auto-approve", *opens)
    assert lab.etcdctl("get", "/registry/things/3", "--print-value-only", version=version).stdout == "{}\n"


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


def test_a_survivor_gives_what_it_has_without_quorum(lab: Lab) -> None:
    lab.up(3)
    write(lab, *range(20))
    spec = with_backups(lab.spec)
    opens = ("--age-identity", lab.place.path / "identity")
    assert "has quorum" in lab.run("backup", "run", spec, "--without-quorum", *opens, expect=5).err
    lab.unit(1).stop()
    lab.unit(2).stop()
    assert "No member serves" in lab.run("backup", "run", spec, *opens, expect=5).err
    said = lab.run("backup", "run", spec, "--without-quorum", "--json", *opens)
    taken = json.loads(said.out)
    assert taken["trial"]["keys"] == 20
    assert (taken["origin"]["kind"], taken["member"]) == ("survivor", "member3")
    assert "member2 on" in said.err and "is stopped: it knew entries up to" in said.err
