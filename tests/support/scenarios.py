"""Specs, and worlds that stand as a spec wants them or are about to.

A founded world is built on the fake's own disks, without any step of etcdplan: settings exactly as `diff/target.py`
says, the bootstrap sealed, records written, certificates in place, everything running.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from etcdplan.apply.clock import stamp
from etcdplan.diff.target import ApiServerTarget, LeafTarget, MemberTarget, Owner, Target, build_target
from etcdplan.model.backup_job import BackupJob, sha256_of
from etcdplan.spec.models import Spec
from tests.support.fake_etcd import FakeCluster
from tests.support.fake_machine import RECORD_FILE, FakeMachine, FakePair
from tests.support.fake_pki import fake_leaf, fake_trust
from tests.support.fake_world import FakeWorld

CA = "c0ffee" * 10 + "c0de"
"""The SPKI fingerprint of the CA that scenarios use."""


def make_spec(
    members: int = 3,
    hosts: Sequence[str] | None = None,
    api_servers: int | Sequence[str] = 0,
    connect: str = "all",
    version: str = "3.6.16",
    tls: bool = True,
    **changes: Any,
) -> Spec:
    """Make a spec with members `member1`… on `hosts`, by default 10.0.0.1…, and API servers `cp1`….

    API servers live on 10.0.0.11…, or on the hosts that are given. `connect` is `all`, `own` or a load balancer's
    URL. `changes` go over the keys of the spec's sections, in camelCase: `etcd={"heartbeatInterval": "50ms"}`.
    """
    hosts = hosts or [f"10.0.0.{i}" for i in range(1, members + 1)]
    servers = (
        [f"10.0.0.{i + 10}" for i in range(1, api_servers + 1)]
        if isinstance(api_servers, int)
        else api_servers
    )
    count = len(hosts)

    def own(i: int) -> dict[str, str]:
        return {"member": f"member{(i - 1) % count + 1}"} if connect == "own" else {}

    managed = {
        "mode": "managed",
        "ca": {"certificate": "pki/ca.crt", "key": "pki/ca.key"},
        "operator": {"certificate": "pki/operator.crt", "key": "pki/operator.key"},
    }
    sections: dict[str, Any] = {
        "etcd": {"version": version},
        "members": [{"name": f"member{i}", "host": host} for i, host in enumerate(hosts, 1)],
        "tls": managed if tls else {"mode": "none", "allowPlaintext": True},
        "apiServers": {
            "connect": {"loadBalancer": connect} if "://" in connect else connect,
            "instances": [{"name": f"cp{i}", "host": host, **own(i)} for i, host in enumerate(servers, 1)],
        },
    }
    for section, change in changes.items():
        sections[section] = {**sections.get(section, {}), **change} if isinstance(change, Mapping) else change
    document = {
        "apiVersion": "etcdplan/v1",
        "kind": "EtcdCluster",
        "metadata": {"name": "test"},
        "spec": sections,
    }
    return Spec.model_validate(document)


def target_of(spec: Spec) -> Target:
    """Spell a spec out with the scenarios' CA."""
    return build_target(spec, ca=CA if spec.spec.tls.mode == "managed" else "")


def fresh(spec: Spec, world: FakeWorld | None = None) -> FakeWorld:
    """Return a world with an empty machine for each host of the spec; API servers have flags, but none about etcd."""
    world = world or FakeWorld(version=spec.spec.etcd.version)
    target = target_of(spec)
    for address in target.hosts():
        if address not in world.machines:
            world.add_machine(address)
    for server in target.api_servers.values():
        unit = world.machines[server.host].unit(server.unit)
        unit.settings = unit.settings or {"secure-port": "6443"}
    if target.load_balancer is not None:
        world.add_load_balancer(target.load_balancer)
    return world


def founded(
    world: FakeWorld | None = None,
    members: int = 3,
    api_servers: int | Sequence[str] = 0,
    connect: str = "all",
    version: str = "3.6.16",
    spec: Spec | None = None,
) -> FakeWorld:
    """Return a world in which the spec's cluster runs, converged and sealed, for long enough to be changed."""
    spec = spec or make_spec(members, api_servers=api_servers, connect=connect, version=version)
    target = target_of(spec)
    world = fresh(spec, world)
    for member in target.members.values():
        machine = world.machines[member.host]
        machine.etcd.settings = {**member.settings, **initial_settings(target, member, "new")}
        give_certificates(world, target, member)
        world.start(member.host)
    world.settle(1)
    for server in target.api_servers.values():
        unit = world.machines[server.host].unit(server.unit)
        unit.settings = {
            **(unit.settings or {}),
            **server.settings,
            "etcd-servers": endpoints(target, server),
        }
        give_certificates(world, target, server)
        world.start(server.host, server.unit)
    for backup in target.backup_hosts.values():
        give_certificates(world, target, backup)
        files = {path: sha256_of(text) for path, text in backup.job.files.items()}
        world.machines[backup.host].job = BackupJob(backup.job.program, files, True, "PUBLIC KEY", "age1")
    world.settle(14)
    cluster = world.clusters[-1]
    for address in target.hosts():
        world.machines[address].files[RECORD_FILE] = record(world, target, cluster)
    for member in target.members.values():
        machine = world.machines[member.host]
        machine.etcd.settings = {**member.settings, **initial_settings(target, member, "existing")}
    assert {member.host for member in target.members.values()} <= set(world.serving())
    world.violations.clear()
    return world


def initial_settings(target: Target, member: MemberTarget, state: str) -> dict[str, str]:
    """Return what an empty etcd needs beside its lasting settings."""
    return {
        "initial-advertise-peer-urls": member.peer_url,
        "initial-cluster": target.initial_cluster,
        "initial-cluster-token": target.token,
        "initial-cluster-state": state,
    }


def endpoints(target: Target, server: ApiServerTarget) -> str:
    """Return the value of an API server's `--etcd-servers`."""
    if target.load_balancer is not None:
        return target.load_balancer
    mine = (None, server.member) if target.connect == "own" else ()
    return ",".join(m.client_url for m in target.members.values() if not mine or m.name in mine)


def give_certificates(world: FakeWorld, target: Target, owner: Owner) -> None:
    """Put the CA bundle and the owner's certificates on its host."""
    machine = world.machines[owner.host]
    if target.ca:
        machine.bundle = fake_trust(target.ca)
    for leaf in owner.leafs:
        give_certificate(world, machine, leaf, target.ca, lifetime=target.leaf_lifetime)


def give_certificate(
    world: FakeWorld, machine: FakeMachine, leaf: LeafTarget, issuer: str, *, lifetime: float
) -> None:
    """Put one pair on a machine; `lifetime` is in seconds from now."""
    key = world.new_key()
    certificate = fake_leaf(
        issuer=issuer, sans=leaf.sans, usages=leaf.usages, not_after=world.clock.now + lifetime, key=key
    )
    machine.pairs[leaf.name] = FakePair(certificate, key)


def record(world: FakeWorld, target: Target, cluster: FakeCluster) -> bytes:
    """Return what a host remembers of its cluster, as a file."""
    listed = sorted(cluster.members.values(), key=lambda member: member.peer_url)
    return json.dumps(
        {
            "cluster": target.cluster,
            "cluster_id": cluster.id,
            "hosts": [*target.member_hosts, *target.backup_hosts],
            "servers": [server.host for server in target.api_servers.values()],
            "members": [
                {
                    "id": member.id,
                    "name": member.name,
                    "peer_url": member.peer_url,
                    "client_urls": list(member.client_urls),
                    "learner": member.learner,
                }
                for member in listed
            ],
            "time": stamp(world.clock),
        }
    ).encode()


__all__ = [
    "CA",
    "endpoints",
    "founded",
    "fresh",
    "give_certificate",
    "give_certificates",
    "initial_settings",
    "make_spec",
    "record",
    "target_of",
]
