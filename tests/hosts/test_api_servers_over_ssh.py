"""Real kube-apiservers on systemd hosts: re-pointed one at a time, each ready before the next."""

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from etcdplan.hosts.processes import wait_until
from tests.support.fleet import Fleet
from tests.support.kubernetes import DROP_IN, ENVIRONMENT, UNIT, ControlPlane

pytestmark = [pytest.mark.bed, pytest.mark.timeout(600)]

FORMS = {"cp1": UNIT, "cp2": DROP_IN, "cp3": ENVIRONMENT}
PLACES = {
    "cp1": "/etc/systemd/system/kube-apiserver-cp1.service",
    "cp2": "/etc/systemd/system/kube-apiserver.service.d/20-flags.conf",
    "cp3": "/etc/default/kube-apiserver",
}
"""Where the flags of each are, and stay."""


@contextmanager
def cluster(directory: Path, members: int, *servers: str) -> Iterator[tuple[Fleet, ControlPlane]]:
    """Hosts for members, and after them a host for each API server."""
    with Fleet.up(directory, members + len(servers)) as fleet:
        hosts = {name: (fleet.host(members + n), FORMS[name]) for n, name in enumerate(servers, 1)}
        yield fleet, ControlPlane(directory, hosts)


def write_spec(fleet: Fleet, plane: ControlPlane, *members: int, extra: str = "", **own: str) -> None:
    fleet.write_spec(members)
    with fleet.spec.open("a") as spec:
        spec.write(f"  apiServers:\n{extra}    instances:\n{plane.instances(**own)}")


def leader(fleet: Fleet, *members: int) -> int:
    """Return the number of the host whose etcd leads."""
    said = json.loads(fleet.run("status", "--json", fleet.spec).out)
    host = next(member["host"] for member in said["members"] if member["leader"])
    return next(number for number in members if fleet.host(number).address == host)


def addresses(fleet: Fleet, *members: int) -> set[str]:
    return {fleet.host(number).address for number in members}


def apply_patiently(fleet: Fleet) -> None:
    """Apply; while a host is silent every look takes as long as it is waited for, and here are many."""
    process = fleet.start("apply", fleet.spec, "--auto-approve")
    _, said = process.communicate(timeout=500)
    assert process.returncode == 0, said


def test_a_leader_that_is_cut_off_is_replaced_beside_api_servers_that_know_all_members(
    tmp_path: Path,
) -> None:
    servers = ("cp2", "cp3")
    with cluster(tmp_path, 4, *servers) as (fleet, plane):
        write_spec(fleet, plane, 1, 2, 3)
        fleet.apply()
        everyone = addresses(fleet, 1, 2, 3)
        assert {name: plane.members_of(name) for name in servers} == dict.fromkeys(servers, everyone)
        lost = leader(fleet, 1, 2, 3)
        left = [number for number in (1, 2, 3) if number != lost]
        with plane.writers() as before:
            assert wait_until(lambda: len(before.last) == 2, timeout=30)
        fleet.host(lost).cut_network()
        write_spec(fleet, plane, *left, 4)
        fleet.await_status("2 of 3 voters serve")
        with plane.watched() as away:
            apply_patiently(fleet)
        assert {frozenset({name}) for name in servers} <= set(away)
        with plane.writers() as after:
            assert wait_until(lambda: len(after.last) == 2, timeout=30)
        now = addresses(fleet, *left, 4)
        assert {name: plane.members_of(name) for name in servers} == dict.fromkeys(servers, now)
        for name in servers:
            assert f"--etcd-servers=https://{fleet.host(left[0]).address}:2379" in plane.read(
                name, PLACES[name]
            )
            assert plane.objects(name) >= before.acknowledged | after.acknowledged
        fleet.settled(3)


def test_an_api_server_is_stopped_after_its_clients_were_routed_away(tmp_path: Path) -> None:
    told = tmp_path / "told"
    hook = tmp_path / "balancer"
    own = {"cp1": "member1", "cp2": "member2"}
    with cluster(tmp_path, 3, *own) as (fleet, plane):
        extra = "    connect: own\n    drain: balancer\n"
        write_spec(fleet, plane, 1, 2, 3, extra=extra, **own)
        assert "does not define it" in fleet.apply(expect=5).err
        hook.write_text(f'#!/bin/sh\necho "$@" >>{told}\n')
        hook.chmod(0o755)
        config = tmp_path / "config.yaml"
        config.write_text(f"hooks:\n  balancer: {{command: [{hook}, --pool, k8s], timeout: 20s}}\n")
        config.chmod(0o600)
        fleet.environment["ETCDPLAN_CONFIG"] = str(config)
        fleet.apply()
        assert {name: plane.members_of(name) for name in own} == {
            "cp1": addresses(fleet, 1),
            "cp2": addresses(fleet, 2),
        }
        assert not told.exists()
        with plane.writers() as before:
            assert wait_until(lambda: len(before.last) == 2, timeout=30)
        etcd = fleet.host(2)
        etcd.exec("systemctl", "kill", "--signal=KILL", "etcd")
        etcd.exec("systemctl", "stop", "etcd")
        etcd.exec("sh", "-c", "rm -rf /var/lib/etcd/member")
        fleet.await_status("2 of 3 voters serve")
        hook.write_text("#!/bin/sh\necho balancer is away >&2\nexit 3\n")
        failed = fleet.apply(expect=6)
        assert "The hook balancer (cp2 drain) ended with status 3" in failed.err
        assert plane.running("cp2")
        hook.write_text(f'#!/bin/sh\necho "$@" >>{told}\n')
        fleet.resume()
        assert told.read_text().splitlines() == ["--pool k8s cp2 drain", "--pool k8s cp2 undrain"]
        assert plane.members_of("cp2") == addresses(fleet, 2)
        assert wait_until(lambda: all(map(plane.ready, own)), timeout=30)
        assert all(plane.objects(name) >= before.acknowledged for name in own)
        told.unlink()
        changed = f"{extra}    flags: {{etcd-compaction-interval: 6m}}\n"
        write_spec(fleet, plane, 1, 2, 3, extra=changed, **own)
        fleet.apply()
        assert told.read_text().splitlines() == [
            f"--pool k8s {name} {action}" for name in own for action in ("drain", "undrain")
        ]
        fleet.settled(3)


class Balancer:
    """A load balancer on the controller's machine: each connection goes to the next member."""

    def __init__(self, address: str, members: list[str]) -> None:
        self.members = members
        self.turn = 0
        self.open: list[socket.socket] = []
        self.server = socket.create_server((address, 0))
        self.url = f"https://{address}:{self.server.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.server.accept()
                # A member that does not answer is passed over.
                for _ in self.members:
                    self.turn += 1
                    member = self.members[self.turn % len(self.members)]
                    with contextlib.suppress(OSError):
                        there = socket.create_connection((member, 2379), timeout=2)
                        there.settimeout(None)
                        self.open += [client, there]
                        threading.Thread(target=self._join, args=(client, there), daemon=True).start()
                        break
                else:
                    client.close()

    def _join(self, client: socket.socket, there: socket.socket) -> None:
        with client, there:
            back = threading.Thread(target=self._copy, args=(there, client), daemon=True)
            back.start()
            self._copy(client, there)
            back.join()

    @staticmethod
    def _copy(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        for one in (source, target):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.server.close()
        for one in self.open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


def test_a_load_balancer_is_seen_to_lead_to_every_member(tmp_path: Path) -> None:
    with cluster(tmp_path, 3, "cp1") as (fleet, plane):
        everyone = sorted(addresses(fleet, 1, 2, 3))
        with contextlib.closing(Balancer(fleet.bed.controller, everyone)) as balancer:
            write_spec(fleet, plane, 1, 2, 3, extra=f'    connect: {{loadBalancer: "{balancer.url}"}}\n')
            fleet.apply()
            assert plane.running("cp1")["etcd-servers"] == balancer.url
            with plane.writers() as written:
                assert wait_until(lambda: "cp1" in written.last, timeout=30)
            planned = fleet.run("plan", fleet.spec)
            assert "No changes" in planned.out
            assert "Note:" not in planned.err
            balancer.members = everyone[:2]
            planned = fleet.run("plan", fleet.spec)
            assert "No changes" in planned.out
            assert "never led to member3" in planned.err
