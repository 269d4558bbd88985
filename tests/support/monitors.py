"""What no effect may ever do, whatever the plan says. Judged before and after each effect.

Only what an effect itself makes worse counts: what a test broke before it is nobody's fault.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from etcdplan.model.endpoints import named
from tests.support.fake_consensus import quorate, serves
from tests.support.fake_etcd import FakeCluster
from tests.support.fake_machine import ETCD_UNIT

if TYPE_CHECKING:
    from tests.support.fake_world import FakeWorld


@dataclass(frozen=True, slots=True)
class Sight:
    """How the world is at one moment. Units are `ADDRESS/UNIT`."""

    quorate: frozenset[FakeCluster]
    serving: frozenset[str]
    ready: frozenset[str]
    naming_removed: frozenset[tuple[str, str]]
    data_directories: int
    safe: frozenset[FakeCluster]
    """The clusters whose last acknowledged write lies in a member's data directory."""


class Monitors:
    """Watches a world's effects and appends to its `violations`."""

    def __init__(self) -> None:
        self._down: dict[str, set[str]] = {"etcd": set(), "API server": set()}
        """What is down because of an effect and has not come back since."""

    def look(self, world: "FakeWorld") -> Sight:
        """See how things are."""
        serving, ready, naming = set(), set(), set()
        current, former = _client_urls(world)
        for process in world.processes():
            unit = f"{process.machine.address}/{process.unit}"
            if process.unit == ETCD_UNIT:
                if serves(world, process):
                    serving.add(unit)
                continue
            if process.ready and not process.stopped:
                ready.add(unit)
            if process.machine.reachable:
                naming |= {
                    (unit, url) for url in named(process.settings) if url in former and url not in current
                }
        machines = world.machines.values()
        return Sight(
            frozenset(quorate(world)),
            frozenset(serving),
            frozenset(ready),
            frozenset(naming),
            sum((machine.data is not None) + len(machine.aside) for machine in machines),
            frozenset(
                machine.data.cluster
                for machine in machines
                if machine.data
                and machine.data.cluster
                and _holds_all(machine.data.applied, machine.data.cluster)
            ),
        )

    def judge(self, world: "FakeWorld", before: Sight, effect: str) -> None:
        """Compare with how things are now."""
        after = self.look(world)
        found = [
            f"{unit} was left naming the removed {url}"
            for unit, url in after.naming_removed - before.naming_removed
        ]
        if not world.allow_outage:
            found += [f"cluster {cluster.id:x} lost its quorum" for cluster in before.quorate - after.quorate]
            members = {f"{address}/{ETCD_UNIT}" for address in world.member_addresses()}
            found += self._at_most_one(
                "etcd", (before.serving - after.serving) & members, after.serving, members
            )
        if not world.allow_api_outage and not world.allow_outage:
            everything = before.ready | after.ready | self._down["API server"]
            found += self._at_most_one("API server", before.ready - after.ready, after.ready, everything)
        if after.data_directories < before.data_directories:
            found.append("data was deleted")
        if len(after.quorate) > max(len(before.quorate), 1):
            found.append("two clusters serve at once")
        if world.replaced and after.ready and not before.ready and (names := _half_restored(world)):
            found.append(f"an API server runs while {names} is half restored")
        found += [
            f"no member holds the acknowledged writes of cluster {cluster.id:x} any more"
            for cluster in before.safe - after.safe
            if cluster.id not in world.replaced
        ]
        world.violations += [f"{world.clock.now:.1f} {effect}: {what}" for what in found]

    def _at_most_one(
        self, what: str, fell: frozenset[str], up: frozenset[str], relevant: set[str] | frozenset[str]
    ) -> list[str]:
        down = self._down[what]
        down &= relevant - up
        down |= fell
        return (
            [f"{len(down)} {what}s are down because of effects: {sorted(down)}"]
            if fell and len(down) > 1
            else []
        )


def _client_urls(world: "FakeWorld") -> tuple[set[str], set[str]]:
    """Return the client URLs that members have now, and all that there ever were."""
    current: set[str] = set()
    former: set[str] = set()
    for cluster in world.clusters:
        if cluster.removed:
            former |= cluster.client_urls
        current.update(url for member in cluster.members.values() for url in member.client_urls)
    return current, former


def _half_restored(world: "FakeWorld") -> str:
    """Return the hosts on which old data lies where a restore is under way, or new data waits."""
    half = (
        machine.address
        for machine in world.machines.values()
        if machine.staged
        or (machine.data and machine.data.cluster and machine.data.cluster.id in world.replaced)
    )
    return ", ".join(half)


def _holds_all(applied: int, cluster: FakeCluster) -> bool:
    return applied >= cluster.acked
