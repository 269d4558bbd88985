"""Backups of a real cluster: taken, proven, listed; opened with etcd's own tools; and every damage found."""

import json
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from etcdplan.lab.binaries import etcd_binaries
from etcdplan.pki.keyfile import new_identity, write_identity
from tests.support.backups import with_backups
from tests.support.cli import Lab

pytestmark = [pytest.mark.host, pytest.mark.timeout(300)]

VERSIONS = ("3.4.23", "3.5.35", "3.6.16", "3.7.3")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_backup_is_taken_proven_and_opened_without_etcdplan(lab: Lab, tmp_path: Path, version: str) -> None:
    lab.up(1, version=version)
    for number in range(20):
        assert lab.etcdctl("put", f"/registry/things/{number}", "{}").returncode == 0
    spec = with_backups(lab.spec)
    opens = ("--age-identity", lab.place.path / "identity", "--etcd-dir", etcd_binaries(version))
    taken = json.loads(lab.run("backup", "run", spec, "--json", *opens).out)
    assert taken["verified"] == "restore"
    assert taken["trial"]["comparedWithMember"]
    assert taken["trial"]["keys"] == 20
    assert taken["trial"]["objectsRead"] == 20
    assert taken["revision"] == taken["trial"]["revision"] == 21

    listed = json.loads(lab.run("backup", "list", spec, "--json").out)["destinations"]
    assert [[one["name"] for one in place["backups"]] for place in listed] == [[taken["name"]]] * 2
    assert "equal to the member's" in lab.run("backup", "verify", spec, *opens).out

    files = lab.place.path / "backups"
    assert sorted(path.suffix for path in files.iterdir()) == [".age", ".json", ".sig"]
    assert {path.stat().st_mode & 0o777 for path in files.iterdir()} == {0o600}
    encrypted = (files / f"{taken['name']}.snapshot.age").read_bytes()
    assert b"/registry" not in encrypted
    import pyrage

    words = (lab.place.path / "identity").read_text().splitlines()[-1]
    plain = tmp_path / "snap.db"
    plain.write_bytes(pyrage.decrypt(encrypted, [pyrage.x25519.Identity.from_str(words)]))
    tool = etcd_binaries(version) / ("etcdctl" if version == "3.4.23" else "etcdutl")
    said = subprocess.run(
        [tool, "snapshot", "status", plain, "--write-out=json"],
        env={"ETCDCTL_API": "3"},
        capture_output=True,
        timeout=30,
        check=True,
    )
    status = json.loads(said.stdout)
    assert (status["hash"], status["totalKey"], status["totalSize"]) == tuple(
        taken["trial"][key] for key in ("statusHash", "totalKeys", "totalSize")
    )
    checked = subprocess.run(
        [
            *(
                "openssl",
                "pkeyutl",
                "-verify",
                "-pubin",
                "-inkey",
                lab.place.path / "backup.ed25519.pub",
                "-rawin",
            ),
            *("-in", files / f"{taken['name']}.json", "-sigfile", files / f"{taken['name']}.sig"),
        ],
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert checked.returncode == 0, checked


def test_an_empty_cluster_one_with_compacted_revisions_and_one_of_large_objects(lab: Lab) -> None:
    lab.up(1)
    spec = with_backups(lab.spec)
    opens = ("--age-identity", lab.place.path / "identity")
    assert json.loads(lab.run("backup", "run", spec, "--json", *opens).out)["trial"]["revision"] == 1
    lab.etcdctl("put", "/registry/things/1", "{}")
    lab.etcdctl("del", "/registry/things/1")
    assert lab.etcdctl("compact", "3", "--physical").returncode == 0
    trial = json.loads(lab.run("backup", "run", spec, "--json", *opens).out)["trial"]
    assert (trial["revision"], trial["keys"]) == (3, 0)
    for number in range(45):  # Together more than gRPC takes in one answer.
        assert lab.etcdctl("put", f"/registry/large/{number}", "{" + "x" * 100_000).returncode == 0
    trial = json.loads(lab.run("backup", "run", spec, "--json", *opens).out)["trial"]
    assert trial["objectsRead"] == 45


def test_what_is_missing_or_wrong_is_named_and_nothing_is_left_behind(lab: Lab) -> None:
    lab.up(1)
    lab.etcdctl("put", "/registry/things/1", "no object at all")
    spec = with_backups(lab.spec)
    places = [lab.place.path / name for name in ("backups", "second")]
    opens = ("--age-identity", lab.place.path / "identity")

    assert "no age identity" in lab.run("backup", "run", spec, expect=1).err
    assert (
        "needs etcd and etcdutl 3.6"
        in lab.run("backup", "run", spec, *opens, "--etcd-dir", "/nowhere", expect=1).err
    )
    assert "is no Kubernetes object" in lab.run("backup", "run", spec, *opens, expect=1).err
    assert not any(path.suffix == ".json" for place in places for path in place.iterdir())
    assert "none that counts" in lab.run("backup", "list", spec, expect=2).out
    lab.etcdctl("del", "/registry/things/1")

    other, _ = new_identity()
    write_identity(lab.place.path / "other", other)
    wrong = lab.run("backup", "run", spec, "--age-identity", lab.place.path / "other", expect=1)
    assert "None of the given age identities opens" in wrong.err

    good = json.loads(lab.run("backup", "run", spec, "--json", *opens).out)["name"]
    encrypted = places[0] / f"{good}.snapshot.age"
    content = bytearray(encrypted.read_bytes())
    content[len(content) // 2] ^= 1
    encrypted.write_bytes(content)
    assert "is damaged" in lab.run("backup", "verify", spec, good, *opens, expect=1).err

    # A destination that takes nothing is told of, and the other has the backup.
    places[1].rename(places[1].with_name("was-second"))
    places[1].write_text("in the way")
    file = lab.place.path / "etcdplan.prom"
    half = lab.run("backup", "run", spec, *opens, "--metrics", file, expect=6)
    assert f"Not there: The backup directory {places[1]}" in half.err
    assert str(places[0]) in half.out
    for line in (
        'destination_failed{%s,destination="second"} 1',
        'destination_failed{%s,destination="backups"} 0',
    ):
        assert line % f'cluster="{lab.place.name}"' in file.read_text()


def test_what_takes_something_away_rests_on_a_backup(lab: Lab) -> None:
    lab.up()
    lab.etcdctl("put", "/registry/things/1", "{}")
    spec = with_backups(lab.spec)
    opens = ("--age-identity", lab.place.path / "identity")
    drifted = json.loads(lab.run("drift", spec, "--json", expect=2).out)
    assert ([one["code"] for one in drifted["findings"]], drifted["changes"]) == (["EP301"], [])
    assert drifted["since"]["changed"] == "spec"
    lab.break_("member2")
    assert "take a backup, restored on trial" in lab.run("plan", spec).out

    refused = lab.run("apply", spec, "--auto-approve", expect=5).err
    assert "no age identity is given" in refused and "--age-identity" in refused
    assert not (lab.place.path / "backups").exists()

    applied = lab.run("apply", spec, "--auto-approve", *opens)
    assert applied.err.index("Taking a snapshot") < applied.err.index("out of service")
    [one] = json.loads(lab.run("backup", "list", spec, "--json").out)["destinations"][0]["backups"]
    assert (one["verified"], one["trial"]["keys"]) == ("restore", 1)

    assert "No drift." in lab.run("drift", spec).out
    lab.break_("member3")
    assert "what differs has drifted" in lab.run("drift", spec, expect=2).out
    again = lab.run("plan", spec).out
    assert f"can be had back from {one['name']}" in " ".join(again.split())
    assert "take a backup" not in again
    # No identity is needed for what needs no backup.
    lab.run("apply", spec, "--auto-approve")
    assert len(list((lab.place.path / "backups").glob("*.json"))) == 1


def test_a_second_host_takes_over_when_the_first_is_silent(lab: Lab) -> None:
    """Two machines with a signing key each, of which both are trusted, run what their timers would."""
    lab.up(1)
    document = yaml.safe_load(with_backups(lab.spec).read_text())
    lab.run("backup", "keygen", lab.place.path / "second.ed25519")
    policy = document["spec"]["backup"] | {"schedule": "@daily", "verify": "checksum"}
    policy["encryption"]["trustedKeys"].append("second.ed25519.pub")

    def host(key: str, **more: str) -> Path:
        signs = {**policy["encryption"], "signingKey": key}
        path = lab.place.path / f"{key}.yaml"
        document["spec"]["backup"] = policy | more | {"encryption": signs}
        path.write_text(yaml.safe_dump(document))
        return path

    first, second = host("backup.ed25519"), host("second.ed25519")
    assert "Backup lab" in lab.run("backup", "run", first, "--if-due").out.replace(lab.place.name, "lab")
    assert "None is due" in lab.run("backup", "run", second, "--if-due").out
    assert "None is due" in lab.run("backup", "run", first, "--if-due").out

    # The next time comes, and the first is cut off.
    next_minute = int(time.time()) // 60 * 60 + 60
    at = time.gmtime(next_minute)
    second = host("second.ed25519", schedule=f"{at.tm_min} {at.tm_hour} * * *")
    assert "None is due" in lab.run("backup", "run", second, "--if-due").out or time.time() >= next_minute
    time.sleep(max(next_minute - time.time(), 0))
    lab.run("backup", "run", second, "--if-due")
    places = json.loads(lab.run("backup", "list", second, "--json").out)["destinations"]
    assert [len(place["backups"]) for place in places] == [2, 2]
    assert not any(place["distrusted"] for place in places)
    assert "No drift." in lab.run("drift", second).out
