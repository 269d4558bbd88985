"""Doing things to a fake world by hand, through its ports."""

import json
from itertools import count

from etcdplan.hosts.ports import Claim
from tests.support.fake_effects import FakeEffects
from tests.support.fake_world import FakeWorld
from tests.support.scenarios import (
    give_certificates,
    initial_settings,
    make_spec,
    target_of,
)

H1, H2, H3, H4 = (f"10.0.0.{i}" for i in range(1, 5))


def peer(address: str) -> str:
    return f"https://{address}:2380"


def client(address: str) -> str:
    return f"https://{address}:2379"


class Operator:
    """Somebody who holds the lock of all hosts and does things by hand."""

    def __init__(self, world: FakeWorld, token: int = 1) -> None:
        self.world = world
        self.token = token
        self._ids = count(1)
        for machine in world.machines.values():
            machine.files["lock.json"] = json.dumps({"token": token}).encode()

    def claim(self) -> Claim:
        return Claim(self.token, f"{self.token}-{next(self._ids)}")

    def at(self, address: str) -> FakeEffects:
        return self.world.host(address).effects

    def ids(self) -> dict[str, int]:
        return {member.peer_url: member.id for member in self.world.clusters[-1].members.values()}

    def remove(self, address: str, *, via: str = H1) -> None:
        self.at(via).member_remove(self.claim(), client(via), self.ids()[peer(address)])

    def add(self, address: str, *, via: str = H1) -> None:
        self.at(via).member_add(self.claim(), client(via), peer(address))

    def promote(self, address: str, *, via: str = H1) -> None:
        self.at(via).member_promote(self.claim(), client(via), self.ids()[peer(address)])

    def do(self, address: str, effect: str, *args: object) -> None:
        getattr(self.at(address), effect)(self.claim(), *args)

    def join(self, address: str, *, listed: int | None = None) -> None:
        """Write what a newcomer needs, and start it; `listed` of the members are named."""
        target = target_of(make_spec(hosts=[H1, H2, H3, H4]))
        member = target.member_hosts[address]
        urls = [peer(address), *sorted(url for url in self.ids() if url != peer(address))][:listed]
        names = ",".join(
            f"{member.name if url == peer(address) else f'm{i}'}={url}" for i, url in enumerate(urls)
        )
        initial = {**initial_settings(target, member, "existing"), "initial-cluster": names}
        if "server" not in self.world.machines[address].pairs:
            give_certificates(self.world, target, member)
        self.do(address, "write_settings", "etcd", {**member.settings, **initial})
        self.do(address, "start", "etcd")


def ask(world: FakeWorld, address: str):  # type: ignore[no-untyped-def]
    return world.host(address).ask_etcd(client(address), timeout=1)
