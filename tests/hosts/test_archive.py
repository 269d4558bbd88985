"""etcd from an archive, on hosts that have nothing of it."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from etcdplan.hosts.processes import wait_until
from tests.support.fleet import Fleet, killed

pytestmark = [pytest.mark.bed, pytest.mark.timeout(600)]

WHERE = "/opt/etcdplan"


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    with Fleet.up(tmp_path, 3, etcd=False) as fleet:
        yield fleet


def test_founded_from_an_archive_on_bare_hosts(fleet: Fleet) -> None:
    source = fleet.archive()
    fleet.write_spec((1, 2, 3), source=source)
    assert "install etcd from the archive on 3 hosts" in fleet.plan()
    fleet.apply()
    fleet.settled(3)
    sha = re.findall("[0-9a-f]{64}", source)[0]
    for number in (1, 2, 3):
        host = fleet.host(number)
        pid = host.exec("systemctl", "show", "-p", "MainPID", "--value", "etcd").stdout.strip()
        program = host.exec("readlink", f"/proc/{pid}/exe").stdout.strip()
        assert program == f"{WHERE}/etcd-3.6.16-{sha[:16]}/etcd"
        assert host.exec("stat", "-c", "%U", f"/proc/{pid}").stdout.strip() == "etcd"
        assert host.exec("ls", "-A", WHERE).stdout.split() == [f"etcd-3.6.16-{sha[:16]}"]
