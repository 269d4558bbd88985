"""Hosts in memory for a lock to lie on, and who may hold it."""

import json
from dataclasses import replace

from etcdplan.apply.holder import Holder
from etcdplan.apply.lock import Lock, acquire
from etcdplan.hosts.ports import LOCK_FILE
from tests.support.clock import VirtualClock
from tests.unit.apply.memory_store import MemoryStore

HOSTS = ("h1", "h2", "h3")


def stores(*names: str) -> dict[str, MemoryStore]:
    return {name: MemoryStore(name) for name in names or HOSTS}


def here() -> Holder:
    return Holder.here("etcdplan apply prod.yaml")


def elsewhere() -> Holder:
    return replace(here(), host="runner2", boot_id="another boot")


def gone_from_here() -> Holder:
    """A holder of this machine whose process has ended: its PID is another process's now."""
    return replace(here(), pid_started=1)


def lock_file(store: MemoryStore) -> dict[str, object]:
    content: dict[str, object] = json.loads(store.files[LOCK_FILE])
    return content


def take(
    world: dict[str, MemoryStore], holder: Holder, clock: VirtualClock | None = None, wait: float = 35.0
) -> Lock:
    return acquire([tuple(world)], world, holder, clock=clock or VirtualClock(), wait=wait)


def void(_: object) -> None:
    pass
