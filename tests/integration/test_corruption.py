"""One member of three holds other data than the others: it is replaced from their side. Real etcd, a real alarm."""

import pytest

from etcdplan.hosts.supervisor import SupervisedUnit
from etcdplan.hosts.unit_files import UnitFiles
from etcdplan.lab.binaries import etcd_binaries
from etcdplan.pki.secret import Secret
from etcdplan.transport import etcd_pb2 as pb
from etcdplan.transport.etcd import Credentials, EtcdClient
from tests.support.backups import with_backups
from tests.support.cli import Lab

pytestmark = [pytest.mark.host, pytest.mark.timeout(300)]

ACTIVATE, CORRUPT = 1, 2
GOOD, BAD = "what-all-agreed-on", "what-nobody-wrote!"


def alter(lab: Lab, number: int) -> None:
    """Change a value on the disk of a member, and let it run on: no page of etcd's database has a checksum."""
    lab.unit(number).stop()
    database = lab.root(number) / "var/lib/etcd/member/snap/db"
    content = database.read_bytes()
    assert GOOD.encode() in content
    database.write_bytes(content.replace(GOOD.encode(), BAD.encode()))
    lab.start_by_hand(number)


def alarm(lab: Lab, member_id: int, action: int = ACTIVATE) -> None:
    """Raise the alarm, as a member does that finds hashes to differ."""
    pki = lab.place.pki
    files = [(pki / name).read_bytes() for name in ("etcd-ca.crt", "operator.crt", "operator.key")]
    with EtcdClient(
        f"https://{lab.address(1)}:2379", Credentials(files[0], files[1], Secret(files[2]))
    ) as client:
        request = pb.AlarmRequest(action=action, member_id=member_id, alarm=CORRUPT)
        client._mutate("Maintenance/Alarm", "", request, pb.AlarmReply, 10)


def member_id(lab: Lab, number: int) -> int:
    membership = lab.observe().membership.get()
    assert membership is not None
    return membership.members[f"https://{lab.address(number)}:2380"].id


def value(lab: Lab, number: int) -> str:
    asked = ("get", "key", "--print-value-only", "--consistency=s")
    return lab.etcdctl(*asked, host=number).stdout.strip()


def test_a_corrupt_member_is_replaced_from_the_healthy_side(lab: Lab) -> None:
    lab.up(3)
    assert lab.etcdctl("put", "key", GOOD).returncode == 0
    alter(lab, 2)
    was = member_id(lab, 2)
    # Nobody notices before the alarm: hashing is not done for a plan.
    assert "No changes" in lab.run("plan", lab.spec).out
    assert value(lab, 2) == BAD
    alarm(lab, was)
    refused = lab.etcdctl("put", "other", "x")
    assert "corrupt cluster" in refused.stderr
    shown = lab.run("plan", lab.spec).out
    assert "take etcd of member2" in shown and "take the CORRUPT alarm back" in shown
    lab.apply()
    assert member_id(lab, 2) != was
    assert [value(lab, number) for number in (1, 2, 3)] == [GOOD] * 3
    assert lab.etcdctl("put", "other", "x").returncode == 0
    lab.settled()


def test_without_a_majority_that_agrees_nobody_is_removed(lab: Lab) -> None:
    lab.up(3)
    assert lab.etcdctl("put", "key", GOOD).returncode == 0
    alter(lab, 2)
    lab.unit(3).stop()
    alarm(lab, 0)
    before = lab.effects()
    refused = lab.run("plan", lab.spec, expect=5).out
    assert "no majority of the members holds the same data" in refused.replace("\n│ ", " ")
    lab.apply(expect=5)
    assert lab.effects() == before
    # The third decides, when somebody has started it; one that is left standing is taken back.
    lab.start_by_hand(3)
    lab.apply()
    assert [value(lab, number) for number in (1, 2, 3)] == [GOOD] * 3
    lab.settled()


@pytest.mark.parametrize("version", ["3.4.23", "3.6.16"])
def test_a_snapshot_brings_its_alarm_along_and_a_restore_takes_it_back(lab: Lab, version: str) -> None:
    lab.up(3, version=version)
    assert lab.etcdctl("put", "key", GOOD, version=version).returncode == 0
    alarm(lab, member_id(lab, 2))
    spec = with_backups(lab.spec)
    opens = ("--age-identity", lab.place.path / "identity", "--etcd-dir", etcd_binaries(version))
    lab.run("backup", "run", spec, *opens)
    done = lab.run("restore", spec, "--auto-approve", *opens)
    assert "take the CORRUPT alarm back" in done.err
    assert lab.etcdctl("put", "key", GOOD, version=version).returncode == 0
    lab.settled(spec)


def test_an_api_server_that_is_down_is_started_when_etcd_takes_writes_again(lab: Lab) -> None:
    lab.make(1, api_servers=1)
    lab.apply()
    root = lab.root(11).resolve()
    SupervisedUnit(root, UnitFiles(root, "apiserver/cp1").name).stop()
    # Whatever it needs to be ready it has to write.
    assert lab.etcdctl("del", "", "--prefix").returncode == 0
    alarm(lab, 0)
    said = lab.apply().err
    assert said.index("take the CORRUPT alarm back") < said.index("run API server cp1")
    lab.settled()
