"""Backups of a cluster whose hosts are not logged in to: its etcds alone are asked, at their client URLs."""

import json
from pathlib import Path

import pytest
import yaml

from etcdplan.lab.binaries import etcd_binaries
from etcdplan.lab.processes import break_member
from tests.support.backups import with_backups
from tests.support.cli import VERSION, Lab

pytestmark = [pytest.mark.host, pytest.mark.timeout(300)]


def on_systemd(spec: Path) -> Path:
    """Have the spec say that its hosts are reached over SSH: nothing listens there."""
    document = yaml.safe_load(spec.read_text())
    document["spec"]["etcd"]["runtime"] = "systemd"
    document["spec"]["backup"]["schedule"] = "@hourly"
    other = spec.with_name("over-ssh.yaml")
    other.write_text(yaml.safe_dump(document))
    return other


def test_a_backup_is_taken_from_a_member_that_serves(lab: Lab) -> None:
    lab.up(3)
    assert lab.etcdctl("put", "/registry/things/1", "{}").returncode == 0
    spec = on_systemd(with_backups(lab.spec))
    opens = ("--age-identity", lab.place.path / "identity", "--etcd-dir", etcd_binaries(VERSION))
    taken = json.loads(lab.run("backup", "run", spec, "--without-ssh", "--if-due", "--json", *opens).out)
    assert taken["verified"] == "restore" and taken["trial"]["comparedWithMember"]
    left_out = {(one["host"], one["why"]) for one in taken["include"]["leftOut"]}
    assert {host for host, _ in left_out} == {lab.address(number) for number in (1, 2, 3)}
    assert all("is not logged in to" in why for _, why in left_out)
    again = lab.run("backup", "run", spec, "--without-ssh", "--if-due", *opens)
    assert "None is due" in again.out

    # Without a majority nobody answers a linearizable read, and what a minority has is not published.
    for number in (1, 2):
        break_member(lab.place, f"member{number}", "kill")
    refused = lab.run("backup", "run", spec, "--without-ssh", *opens, expect=5)
    assert "No member serves" in refused.err


def test_what_needs_hosts_is_refused(lab: Lab) -> None:
    lab.up(1)
    spec = on_systemd(with_backups(lab.spec))
    assert (
        "--without-ssh"
        in lab.run("backup", "run", spec, "--without-ssh", "--from-data", "member1", expect=64).err
    )
    own, opens = spec.with_name("with-backups.yaml"), ("--age-identity", lab.place.path / "identity")
    assert "Leave it out" in lab.run("backup", "run", own, "--without-ssh", *opens, expect=64).err
