"""Hosts that take backups by themselves: set up by `apply`, kept, dismissed; one takes over when another is silent."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from etcdplan.pki.keyfile import new_identity
from tests.bed.host import Host
from tests.bed.root_file_system import python_layer
from tests.support.fleet import Fleet

pytestmark = [pytest.mark.bed, pytest.mark.timeout(900)]

JOB, KEYS = "/etc/etcdplan/backup", "/etc/etcdplan/backup/keys"
SERVICE, TIMER = "etcdplan-backup.service", "etcdplan-backup.timer"
HOME = "/var/lib/etcdplan-backup"
RARELY = "0 0 1 1 *"


class Keeper:
    """A fleet of one member on host 1, which has the backups of all, too, and what its spec says of backups."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.source = fleet.archive()
        fleet.run("backup", "keygen", "runner.key")
        self.recipients, self.trusted = [new_identity()[1]], ["runner.key.pub"]

    def write_spec(self, hosts: Sequence[int], *, schedule: str = RARELY, wait: str = "10m") -> None:
        self.fleet.write_spec((1,), source=self.source, allowOutage="true")
        store = self.fleet.host(1).address
        addresses = [self.fleet.host(number).address for number in hosts]
        named = f"    hosts: [{', '.join(addresses)}]\n    takeOverAfter: {wait}\n" if hosts else ""
        with self.fleet.spec.open("a") as spec:
            spec.write(
                f"  backup:\n    destinations: ['sftp://deploy@{store}/home/deploy/backups']\n"
                f"    schedule: '{schedule}'\n{named}    encryption:\n"
                f"      recipients: [{', '.join(self.recipients)}]\n"
                f"      signingKey: runner.key\n      trustedKeys: [{', '.join(self.trusted)}]\n"
            )

    def admit(self, hosts: Sequence[int], **policy: str) -> None:
        """Put the public keys of hosts into the spec; give the hosts the way to the destination, as a user does."""
        shown = self.fleet.run("backup", "keys", self.fleet.spec, "-o", ".").out
        self.recipients += re.findall("recipients: (age1[0-9a-z]+)", shown)
        self.trusted += [f"{self.fleet.host(number).address}.pub" for number in hosts]
        self.write_spec(hosts, **policy)
        bed = self.fleet.bed
        for number in hosts:
            host = self.fleet.host(number)
            host.put(f"{HOME}/.ssh/id_ed25519", bed.identity, 0o600)
            host.put(f"{HOME}/.ssh/known_hosts", bed.known_hosts, 0o600)
            host.exec("chown", "-R", "etcdplan-backup:", f"{HOME}/.ssh")

    @property
    def names(self) -> list[str]:
        """The backups that are there, the oldest first."""
        there = self.fleet.host(1).exec("sh", "-c", "ls /home/deploy/backups/*.json", check=False).stdout
        return sorted(there.split())


@pytest.fixture
def keeper(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Keeper]:
    with Fleet.up(tmp_path, request.param, etcd=False, over=[python_layer()]) as fleet:
        yield Keeper(fleet)


def words(host: Host) -> str:
    """Return what the service said."""
    return host.exec("journalctl", "--no-pager", "-o", "cat", "-u", SERVICE).stdout


def start(host: Host, *, fails: bool = False) -> str:
    """Run the service to its end."""
    done = host.exec("systemctl", "start", SERVICE, timeout=120, check=False)
    assert (done.returncode != 0) == fails, words(host)
    return words(host)


@pytest.mark.parametrize("keeper", [1], indirect=True)
def test_a_member_takes_backups_by_itself(keeper: Keeper) -> None:
    fleet, host = keeper.fleet, keeper.fleet.host(1)
    keeper.write_spec([1])
    plan = fleet.plan()
    assert "install etcdplan" in plan and f"have {host.address} take backups on the schedule" in plan
    fleet.apply()
    fleet.settled(1)

    # Its keys were made there, are its own, and count for nothing before the spec has them.
    assert host.exec("stat", "-c", "%a %U", f"{KEYS}/signing.key", f"{KEYS}/identity").stdout.split() == [
        *("600", "etcdplan-backup"),
        *("600", "etcdplan-backup"),
    ]
    assert "EP308" in fleet.plan()
    assert "would not count" in start(host, fails=True)
    keeper.admit([1])
    fleet.apply()
    fleet.settled(1)
    assert "EP308" not in fleet.plan()

    # One run makes a backup that was restored on trial; a second one has nothing to do.
    start(host)
    assert len(keeper.names) == 1
    listed = fleet.run("backup", "list", fleet.spec).out
    assert "restore" in listed, listed
    assert "None is due" in start(host)
    assert len(keeper.names) == 1

    # What differs is said, and mended.
    unit = f"/etc/systemd/system/{SERVICE}"
    host.exec("sed", "-i", "s/PrivateTmp=yes/PrivateTmp=no/", unit)
    assert f"{unit[1:]}: SHA-256" in fleet.plan()
    fleet.apply()
    host.exec("systemctl", "disable", "--now", TIMER)
    assert "its timer does not wait" in fleet.plan()
    assert "backup-host" in fleet.run("drift", fleet.spec, expect=2).out
    fleet.apply()
    fleet.settled(1)
    assert host.exec("systemctl", "is-active", TIMER).stdout.strip() == "active"

    # A host that the spec no longer names loses all but its keys.
    keeper.write_spec([])
    assert "take no backups any more" in fleet.plan()
    fleet.apply()
    fleet.settled(1)
    assert host.exec("ls", JOB).stdout.split() == ["keys"]
    assert host.exec("ls", "/opt/etcdplan").stdout.split()[0].startswith("etcd-")
    assert host.exec("systemctl", "is-active", TIMER, check=False).stdout.strip() == "inactive"
