"""What became of a world: everything on its disks and in its processes but times and numbers that the cluster chose."""

import json
from collections import Counter
from typing import Any

from etcdplan.hosts.ports import LOCK_FILE
from tests.support.fake_etcd import FakeData
from tests.support.fake_machine import FakeMachine
from tests.support.fake_pki import describe_leaf
from tests.support.fake_world import Done, FakeWorld

REPEATABLE = frozenset(
    {
        "write_settings",
        "write_record",
        "install_trust",
        "make_leaf_key",
        "install_leaf",
        "move_leader",
        "restart_running",
    }
)
"""Effects that a resumed run may make once more: they write what is there already, or follow who leads."""


def dump(world: FakeWorld) -> dict[str, Any]:
    """Return the end state in comparable form."""
    return {
        "clusters": [
            {
                "id": cluster.id,
                "members": sorted(
                    (m.peer_url, m.name, m.client_urls, m.learner) for m in cluster.members.values()
                ),
            }
            for cluster in world.clusters
        ],
        "serving": sorted(world.serving()),
        "machines": {address: _machine(world, machine) for address, machine in world.machines.items()},
    }


def summary(world: FakeWorld) -> Counter[tuple[str, ...]]:
    """Count the effects that may happen only once, each by what it was done to."""
    return Counter(_key(world, done) for done in world.effects_log if done.effect not in REPEATABLE)


def _key(world: FakeWorld, done: Done) -> tuple[str, ...]:
    if done.effect == "member_add":
        return done.effect, done.args[1]
    if done.effect in ("member_promote", "member_remove"):
        return done.effect, url_of(world, int(done.args[1]))
    return done.effect, done.host, *done.args


def url_of(world: FakeWorld, member_id: int) -> str:
    """Return the peer URL of a member that is or was listed."""
    for cluster in world.clusters:
        for _, members in cluster.history:
            if member_id in members:
                return members[member_id].peer_url
    return ""


def _machine(world: FakeWorld, machine: FakeMachine) -> dict[str, Any]:
    return {
        "up": machine.reachable,
        "job": machine.job,
        "units": {
            name: {
                "settings": unit.settings,
                "runs": unit.process and _lasting(unit.process.settings),
                "ready": bool(unit.process and unit.process.ready),
                "kept": (unit.held, unit.failing, unit.drained),
            }
            for name, unit in machine.units.items()
        },
        "data": _data(world, machine.data),
        "staged": _data(world, machine.staged),
        "aside": [_data(world, data) for data in machine.aside],
        "pairs": {
            name: (leaf.issuer, leaf.sans, leaf.usages, pair.has_its_key)
            for name, pair in machine.pairs.items()
            for leaf in [describe_leaf(pair.certificate)]
        },
        "trust": machine.trust,
        "record": _record(machine.record),
        "files": sorted(
            name
            for name in machine.files
            if name != LOCK_FILE and not name.startswith(("journal/", "effects/"))
        ),
    }


def _lasting(settings: dict[str, str]) -> dict[str, str]:
    """Leave out what an etcd reads only when it starts empty."""
    return {flag: value for flag, value in settings.items() if not flag.startswith("initial-")}


def _data(world: FakeWorld, data: FakeData | None) -> Any:
    if data is None:
        return None
    return data.cluster and data.cluster.id, url_of(world, data.member_id), data.foreign, data.corrupt


def _record(content: bytes | None) -> Any:
    if content is None:
        return None
    record = json.loads(content)
    members = [{key: member[key] for key in member if key != "id"} for member in record["members"]]
    return record["cluster"], record["cluster_id"], record["hosts"], members
