"""What a plan finds on real hosts: clocks, room on disks, ports, and what a real etcd has measured."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from etcdplan.lab.binaries import etcd_binaries
from tests.bed import wrong_clock
from tests.support.fleet import VERSION, Fleet

pytestmark = [pytest.mark.bed, pytest.mark.timeout(600)]

DATA = "/var/lib/etcd"
PKI = "/etc/etcdplan/pki"


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    with Fleet.up(tmp_path, 2) as fleet:
        yield fleet


def findings(fleet: Fleet, *codes: str, **environment: str) -> list[tuple[str, str, str]]:
    """Return code, address and words of those findings of a plan that have these codes."""
    document = json.loads(fleet.run("plan", fleet.spec, "--json", expect=None, **environment).out)
    found = document.get("findings", [])
    return [(one["code"], one["address"], one["message"]) for one in found if one["code"] in codes]


def figures(fleet: Fleet, address: str) -> dict[str, Any]:
    fleet.run("observe", fleet.spec, "-o", "live.json")
    live = json.loads((fleet.directory / "live.json").read_text())
    value: dict[str, Any] = live["state"]["hosts"][address]["machine"]["figures"]["value"]
    return value


def test_what_is_found_before_and_after_a_cluster_is_founded(fleet: Fleet) -> None:
    one, two = fleet.host(1), fleet.host(2)
    fleet.write_spec((1, 2), quotaBackend="256MiB")
    hosts = ("EP202", "EP204", "EP205", "EP213")
    assert findings(fleet, *hosts) == []
    assert "EP101" in fleet.run("plan", fleet.spec).out

    digest = json.loads(fleet.run("plan", fleet.spec, "--json").out)["digest"]
    ((_, address, words),) = findings(fleet, "EP204", **wrong_clock("+90s"))
    # At least: what the question took may be part of the difference.
    assert re.fullmatch(r"the clock of this machine is (8\d|90) s ahead of those of all hosts", words), words
    assert address == "runner"
    late = fleet.run("plan", fleet.spec, "--json", **wrong_clock("+90s")).out
    assert json.loads(late)["digest"] == digest

    one.exec("systemd-run", "--unit=squatter", "systemd-socket-activate", "--listen=2380", "/bin/cat")
    two.empty_disk(DATA, mebibytes=128)
    found = findings(fleet, *hosts)
    assert [(code, address) for code, address, _ in found] == [
        ("EP205", f"host/{one.address}"),
        ("EP202", f"host/{two.address}"),
    ]
    assert "port 2380 is taken" in found[0][2]
    assert f"free for {DATA}" in found[1][2]

    one.exec("systemctl", "stop", "squatter")
    two.empty_disk(DATA, mebibytes=1024)
    assert findings(fleet, *hosts) == []
    fleet.apply()
    for host in (one, two):
        host.put("/usr/local/bin/etcdctl", etcd_binaries(VERSION) / "etcdctl", 0o755)
    pair = f"--cacert={PKI}/ca.crt --cert={PKI}/server/tls.crt --key={PKI}/server/tls.key"
    write = f"for n in $(seq 120); do etcdctl --endpoints=https://{one.address}:2379 {pair} put k$n v; done"
    one.exec("sh", "-ec", write)

    for host in (one, two):
        measured = figures(fleet, host.address)
        assert 0 < measured["fsync"] < 10
        assert measured["database"] >= 16384
    # Its own etcd is not somebody else, and what is there is known.
    assert findings(fleet, *hosts) == []

    two.full_disk(DATA)
    found = findings(fleet, "EP202")
    assert [address for _, address, _ in found] == [f"host/{two.address}"]
    assert found[0][2].startswith("0 MiB are free")
