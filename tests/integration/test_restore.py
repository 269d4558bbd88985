"""A cluster is restored from a backup by a plan: real etcd, real snapshots, and what was there before is kept aside."""

import json

import pytest

from etcdplan.lab.binaries import etcd_binaries
from tests.support.backups import with_backups
from tests.support.cli import Lab

pytestmark = [pytest.mark.host, pytest.mark.timeout(300)]


def key(lab: Lab, name: str) -> str:
    return lab.etcdctl("get", name, "--print-value-only").stdout.strip()


@pytest.mark.parametrize("version", ["3.4.23", "3.6.16"])
def test_a_mistake_is_undone_from_a_backup(lab: Lab, version: str) -> None:
    lab.up(3, version=version)
    for number in range(20):
        assert lab.etcdctl("put", f"/registry/things/{number}", "{}").returncode == 0
    spec = with_backups(lab.spec)
    opens = ("--age-identity", lab.place.path / "identity", "--etcd-dir", etcd_binaries(version))
    taken = json.loads(lab.run("backup", "run", spec, "--json", *opens).out)
    assert lab.etcdctl("put", "/registry/things/late", "{}").returncode == 0
    assert lab.etcdctl("del", "/registry/things/3").returncode == 0
    assert lab.etcdctl("put", "/registry/things/4", "{} ").returncode == 0
    before = json.loads(lab.etcdctl("get", "x", "-w", "json").stdout)["header"]

    full = lab.place.path / "differences.json"
    shown = lab.run("restore", spec, taken["name"], "--plan", "--differences", full, *opens)
    assert f"revision {taken['revision']}) is lost" in shown.err
    assert "1 objects would vanish: 1 things." in shown.err
    assert "1 objects would come back: 1 things." in shown.err
    assert "1 objects would be what they were then: 1 things." in shown.err
    assert json.loads(full.read_text()) == {
        "formatVersion": 1,
        "vanish": [{"kind": "things", "namespace": "", "name": "late"}],
        "comeBack": [{"kind": "things", "namespace": "", "name": "3"}],
        "change": [{"kind": "things", "namespace": "", "name": "4"}],
    }
    assert key(lab, "/registry/things/late") == "{}"
    lab.run("restore", spec, taken["name"], "--auto-approve", *opens)

    after = json.loads(lab.etcdctl("get", "x", "-w", "json").stdout)["header"]
    assert after["cluster_id"] != before["cluster_id"]
    assert (after["revision"] > before["revision"]) == (version != "3.4.23")
    assert key(lab, "/registry/things/3") == "{}"
    assert key(lab, "/registry/things/late") == ""
    # What was replaced can be had back: it was backed up after the API servers had been stopped, and not tried.
    [last, first] = json.loads(lab.run("backup", "list", spec, "--json").out)["destinations"][0]["backups"]
    assert (first["name"], last["verified"], last["clusterId"]) == (
        taken["name"],
        "checksum",
        first["clusterId"],
    )
    assert last["revision"] > first["revision"]
    assert "matches the specification" in lab.run("plan", spec).out
    # Restored once more, it is another cluster again.
    lab.run("restore", spec, "--auto-approve", *opens)
    third = json.loads(lab.etcdctl("get", "x", "-w", "json").stdout)["header"]
    assert third["cluster_id"] not in (before["cluster_id"], after["cluster_id"])
    assert (third["revision"] > after["revision"]) == (version != "3.4.23")
    assert "matches the specification" in lab.run("plan", spec).out


def test_a_cluster_that_lost_all_its_data_comes_back(lab: Lab) -> None:
    lab.up(3)
    assert lab.etcdctl("put", "/registry/things/1", "{}").returncode == 0
    spec = with_backups(lab.spec)
    opens = ("--age-identity", lab.place.path / "identity")
    lab.run("backup", "run", spec, *opens)
    for member in ("member1", "member2", "member3"):
        lab.break_(member)
    assert "Refused" in lab.run("plan", spec, expect=5).out
    lab.run("restore", spec, "--auto-approve", *opens)
    assert key(lab, "/registry/things/1") == "{}"
    assert "matches the specification" in lab.run("plan", spec).out


def test_a_restore_is_taken_back_and_nothing_has_happened(lab: Lab) -> None:
    lab.up(3)
    assert lab.etcdctl("put", "/registry/things/1", "{}").returncode == 0
    spec = with_backups(lab.spec)
    opens = ("--age-identity", lab.place.path / "identity")
    lab.run("backup", "run", spec, *opens)
    assert lab.etcdctl("put", "/registry/things/2", "{}").returncode == 0
    failpoint = {"ETCDPLAN_TEST_BUILD": "1", "ETCDPLAN_FAILPOINT": "effect:5:after"}
    died = lab.run("restore", spec, "--auto-approve", *opens, expect=None, env=failpoint)
    assert died.code == -9, died
    assert "is being restored" in " ".join(lab.run("plan", spec).out.split())
    assert "is taken back" in " ".join(lab.run("restore", spec, "--abandon", "--plan").out.split())
    failpoint["ETCDPLAN_FAILPOINT"] = "effect:4:after"
    died = lab.run("restore", spec, "--abandon", "--auto-approve", expect=None, env=failpoint)
    assert died.code == -9, died
    lab.run("restore", spec, "--abandon", "--auto-approve")
    assert key(lab, "/registry/things/2") == "{}"
    assert "matches the specification" in lab.run("plan", spec).out
    assert not list(lab.place.path.rglob("staged-by-etcdplan"))
