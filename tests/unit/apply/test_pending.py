"""What applies leave on the hosts is read as it is, and nothing is changed by reading."""

from etcdplan.apply.holder import Holder, Life
from etcdplan.apply.pending import Pending, pending
from etcdplan.hosts.ports import LOCK_FILE, Hosts
from etcdplan.model.state import Host, State
from etcdplan.render.pending import pending as as_json
from etcdplan.render.pending import pending_lines
from tests.unit.apply.lock_world import elsewhere, gone_from_here, here, stores, take
from tests.unit.apply.memory_store import MemoryStore

ME = Holder.here("status")


class _Host:
    def __init__(self, store: MemoryStore) -> None:
        self.store = store


class _Hosts:
    def __init__(self, world: dict[str, MemoryStore]) -> None:
        self.world = world

    def host(self, address: str) -> _Host:
        return _Host(self.world[address])


def look(world: dict[str, MemoryStore], *unreachable: str) -> Pending:
    """Look, and check that only that was done."""
    before = {name: dict(store.files) for name, store in world.items()}
    hosts: Hosts = _Hosts(world)  # type: ignore[assignment]
    state = State({name: Host(name, unreachable="silent" * (name in unreachable)) for name in world})
    found = pending(hosts, state, ME)
    assert {name: store.files for name, store in world.items()} == before
    return found


def test_nothing_was_left() -> None:
    world = stores()
    assert look(world) == Pending()
    take(world, here()).release()
    found = look(world)
    assert found == Pending()
    assert list(pending_lines(found, "SPEC")) == []


def test_a_lock_is_held() -> None:
    for holder, life, words in (
        (here(), Life.RUNNING, "."),
        (gone_from_here(), Life.DEAD, "; that process is dead, and the next apply takes the lock over."),
        (elsewhere(), Life.ELSEWHERE, "; whether that process lives cannot be seen from here."),
    ):
        world = stores()
        take(world, holder)
        found = look(world, "h1")
        (held,) = found.locks
        assert (held.holder, held.life) == (holder, life)
        assert found.under_way == (life is not Life.DEAD)
        (line,) = pending_lines(found, "SPEC")
        assert line == f"Locked by {holder} since {held.acquired}{words}"
        assert as_json(found)["locks"][0]["process"] == life.value


def test_damage_and_silence_do_not_hinder() -> None:
    world = stores()
    take(world, here())
    world["h1"].files[LOCK_FILE] = b"no lock"
    world["h2"].up = False
    assert len(look(world).locks) == 1
    world["h3"].files["journal/00000001-abc.jsonl"] = b"no journal\n"
    found = look(world)
    assert found.run is None
    assert "No copy of the newest journal is valid." in list(pending_lines(found, "SPEC"))
