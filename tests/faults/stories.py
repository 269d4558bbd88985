"""The situations that apply is tried in: a world, and the spec that it is to be brought to."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

from etcdplan.apply.journal import JOURNAL_DIR
from etcdplan.errors import StoppedError
from etcdplan.model.restore import Restore
from etcdplan.spec.models import Spec
from tests.support.fake_runs import Runner
from tests.support.fake_world import FakeWorld
from tests.support.restores import asked_restore
from tests.support.scenarios import founded, fresh, make_spec, target_of


@dataclass(frozen=True, eq=False)
class Story:
    """A named situation; `build` makes its world anew each time, always the same one."""

    name: str
    spec: Spec
    build: Callable[[], FakeWorld]

    def __str__(self) -> str:
        return self.name


def _bootstrap(members: int, api_servers: int = 0, **more: object) -> Story:
    spec = make_spec(members, api_servers=api_servers, **more)  # type: ignore[arg-type]
    name = f"bootstrap-{members}" + (f"-{api_servers}api" if api_servers else "")
    return Story(name, spec, lambda: fresh(spec))


def _from_archive() -> Story:
    """etcd is in none of the hosts' places before."""
    spec = make_spec(3, etcd={"source": {"archive": "etcd.tar.gz", "sha256": "c0ffee11" * 8}})
    return Story("bootstrap-3-archive", spec, lambda: fresh(spec))


def _repair(
    name: str, before: Spec, damage: Callable[[FakeWorld], object], after: Spec | None = None
) -> Story:
    """Something breaks in a converged world; new machines stand ready for the hosts that `after` adds."""
    spec = after or before

    def build() -> FakeWorld:
        world = founded(spec=before)
        world.allow_api_outage = before.spec.api_servers.connect == "own"
        damage(world)
        fresh(spec, world)
        return world.settle(20)

    return Story(name, spec, build)


def _change(name: str, before: Spec, after: Spec) -> Story:
    return _repair(name, before, lambda world: None, after)


def _slow(world: FakeWorld) -> None:
    """Newcomers take long to catch up, and longer to say that they are there."""
    world.slow_publish, world.catch_up = True, 30.0


def _restore(
    name: str,
    spec: Spec,
    damage: Callable[[FakeWorld], object],
    gone: tuple[str, ...] = (),
    before: Spec | None = None,
) -> Story:
    """A snapshot of a founded world is restored after something befell it, maybe onto other hosts than `before`."""

    def build() -> FakeWorld:
        world = founded(spec=before or spec)
        damage(world)
        fresh(spec, world)
        world.asked = requested(spec, gone, target_of(before or spec).founding_id)
        world.allow_outage = True
        return world.settle(20)

    return Story(name, spec, build)


def requested(spec: Spec, gone: tuple[str, ...] = (), replaces: int = 0) -> Restore:
    """Return a restore of a snapshot of the cluster as a spec has it."""
    target = target_of(spec)
    return asked_restore(target, replaces or target.founding_id, gone=gone)


def _abandon(name: str, spec: Spec) -> Story:
    """A restore that has staged some members' data is taken back."""

    def build() -> FakeWorld:
        world = founded(spec=spec)
        world.asked = requested(spec)
        staged = lambda: sum(machine.staged is not None for machine in world.machines.values())  # noqa: E731
        with suppress(StoppedError):
            Runner(world, spec, stop=lambda: staged() >= 2).apply()
        assert staged() == 2
        world.asked, world.abandons = None, True
        for machine in world.machines.values():  # Nobody resumes the run that began it.
            machine.files = {
                name: text for name, text in machine.files.items() if not name.startswith(JOURNAL_DIR)
            }
        world.effects_log.clear()
        return world.settle(20)

    return Story(name, spec, build)


def _hosts(*numbers: int) -> list[str]:
    return [f"10.0.0.{number}" for number in numbers]


def _renewal() -> Story:
    spec = make_spec(3, api_servers=1)
    target = target_of(spec)
    return _repair(
        "renewal", spec, lambda world: world.settle(target.leaf_lifetime - target.renew_before + 3600.0)
    )


def _lose_leader(world: FakeWorld) -> None:
    leader = world.leader()
    assert leader is not None
    world.lose_disk(leader)


def _each(damage: Callable[[FakeWorld, str], None], *addresses: str) -> Callable[[FakeWorld], None]:
    def on_each(world: FakeWorld) -> None:
        for address in addresses:
            damage(world, address)

    return on_each


def _hang(address: str) -> Callable[[FakeWorld], None]:
    def damage(world: FakeWorld) -> None:
        world.hang(address)
        world.settle(100)

    return damage


def _edit_running(world: FakeWorld) -> None:
    """Restart a member by hand with another flag, and put its file back."""
    unit = world.machines["10.0.0.2"].etcd
    wanted = dict(unit.settings or {})
    world.kill("10.0.0.2")
    unit.settings = {**wanted, "heartbeat-interval": "250"}
    world.start("10.0.0.2")
    unit.settings = wanted


THREE = make_spec(3)
THREE_API = make_spec(3, api_servers=2)
FIVE_API = make_spec(5, api_servers=1)
OWN = make_spec(3, api_servers=3, connect="own")
DRAINED = make_spec(3, api_servers=3, connect="own", apiServers={"drain": "balancer"})
BACKUP = {
    "destinations": ["/srv/here"],
    "encryption": {"recipients": [f"age1{'q' * 58}"], "signingKey": "key", "trustedKeys": ["key.pub"]},
    "maxAge": "2h",
    "schedule": "@hourly",
}
BACKED = make_spec(3, backup=BACKUP)
DRAINED_FLAGS = make_spec(
    3,
    api_servers=3,
    connect="own",
    apiServers={"drain": "balancer", "flags": {"etcd-compaction-interval": "6m"}},
)
MOVED_ONE = make_spec(hosts=_hosts(1, 4, 3))
MOVED_ONE_API = make_spec(hosts=_hosts(1, 4, 3), api_servers=2)

CORE: tuple[Story, ...] = (
    _bootstrap(1),
    _bootstrap(3),
    _bootstrap(3, 1),
    _bootstrap(5),
    _repair("replace-disk", THREE, _each(FakeWorld.lose_disk, "10.0.0.2")),
    _repair("replace-disk-api", make_spec(3, api_servers=1), _each(FakeWorld.lose_disk, "10.0.0.2")),
    _repair("replace-new-host", THREE, lambda world: world.power_cut("10.0.0.2"), MOVED_ONE),
    _change("scale-1-3", make_spec(1), THREE),
    _change("scale-3-5", THREE, make_spec(5)),
    _change("scale-5-3", make_spec(5), THREE),
    _change("scale-3-1", THREE, make_spec(1)),
)
"""Bootstrap, replacement and scaling: every boundary and phase of these is tried in each run of the tests."""

MORE: tuple[Story, ...] = (
    _bootstrap(1, 1),
    _bootstrap(3, 2),
    _bootstrap(5, 1),
    _repair("replace-disk-backed", BACKED, _each(FakeWorld.lose_disk, "10.0.0.2")),
    _repair("replace-machine", THREE_API, lambda world: world.replace_machine("10.0.0.2")),
    _repair("replace-new-host-api", THREE_API, lambda world: world.power_cut("10.0.0.2"), MOVED_ONE_API),
    _repair("replace-new-host-hung", THREE_API, _hang("10.0.0.2"), MOVED_ONE_API),
    _repair("replace-two-of-five", FIVE_API, _each(FakeWorld.lose_disk, "10.0.0.2", "10.0.0.4")),
    _repair("replace-leader", THREE_API, _lose_leader),
    _repair("replace-own", OWN, _each(FakeWorld.lose_disk, "10.0.0.2")),
    _repair("replace-own-drained", DRAINED, _each(FakeWorld.lose_disk, "10.0.0.2")),
    _repair("replace-corrupt", THREE_API, lambda world: world.corrupt_data("10.0.0.3")),
    _repair("replace-altered", THREE_API, lambda world: world.alter_data("10.0.0.2")),
    _repair("hung", THREE_API, _hang("10.0.0.2")),
    _repair("down", THREE_API, lambda world: world.kill("10.0.0.2")),
    _repair("all-down", THREE, _each(FakeWorld.kill, "10.0.0.1", "10.0.0.2", "10.0.0.3")),
    _repair("scale-1-3-slow", make_spec(1), _slow, THREE),
    _change("scale-1-3-api", make_spec(1, api_servers=1), make_spec(3, api_servers=1)),
    _change("scale-5-3-api", FIVE_API, make_spec(3, api_servers=1)),
    _change("move-all", THREE_API, make_spec(hosts=_hosts(4, 5, 6), api_servers=2)),
    _change("move-one-own", OWN, make_spec(hosts=_hosts(1, 4, 3), api_servers=3, connect="own")),
    _change("flags-drained", DRAINED, DRAINED_FLAGS),
    _change("rolling", THREE_API, make_spec(3, api_servers=2, etcd={"heartbeatInterval": "200ms"})),
    _repair("running-differs", THREE_API, _edit_running),
    _renewal(),
    _change(
        "backup-hosts",
        make_spec(3, backup={**BACKUP, "hosts": _hosts(1, 21)}),
        make_spec(3, backup={**BACKUP, "hosts": _hosts(2, 22)}),
    ),
    _from_archive(),
    _restore("restore", THREE_API, lambda world: None),
    _restore("restore-1", make_spec(1, api_servers=1), lambda world: None),
    _restore("restore-backed", BACKED, lambda world: None),
    _restore("restore-disks-lost", THREE_API, _each(FakeWorld.lose_disk, *_hosts(1, 2, 3))),
    _restore(
        "restore-moved",
        make_spec(hosts=_hosts(2, 3), api_servers=1),
        lambda world: None,
        before=make_spec(hosts=_hosts(1, 2), api_servers=1),
    ),
    _restore("restore-new-hosts", THREE, _each(FakeWorld.replace_machine, *_hosts(1, 2, 3))),
)


APART: tuple[Story, ...] = (
    _restore(
        "restore-host-gone",
        make_spec(1, api_servers=2),
        lambda world: world.power_cut("10.0.0.12"),
        gone=("10.0.0.12",),
    ),
    _abandon("restore-abandoned", make_spec(2, api_servers=1)),
)
"""Those that end otherwise: without one of the spec's hosts, or with the cluster that was to be replaced."""


def by_name(name: str, stories: Iterable[Story] = (*CORE, *MORE, *APART)) -> Story:
    """Return a story."""
    return next(story for story in stories if story.name == name)
