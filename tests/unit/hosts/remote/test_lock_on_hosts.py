"""The cluster's lock on hosts behind shells: competing holders, and a fenced one."""

import threading
from pathlib import Path

import pytest

from etcdplan.apply.holder import Holder
from etcdplan.apply.lock import acquire
from etcdplan.errors import LockHeldError, UnobservedError
from etcdplan.hosts.ports import Fenced
from tests.unit.hosts.remote.conftest import TOKEN, Bench

HOSTS = ("h1", "h2", "h3")


@pytest.fixture
def benches(tmp_path: Path) -> dict[str, Bench]:
    benches = {}
    for name in HOSTS:
        (tmp_path / name).mkdir()
        benches[name] = Bench(tmp_path / name)
        benches[name].lock(TOKEN, held=False)  # Else whoever comes waits until its holder counts as dead.
    return benches


def test_of_competing_holders_there_is_one_at_a_time(benches: dict[str, Bench]) -> None:
    stores = {name: bench.host.store for name, bench in benches.items()}
    tokens: list[int] = []
    inside: list[int] = []

    def contend(number: int) -> None:
        for _ in range(3):
            try:
                with acquire([HOSTS], stores, Holder.here(f"apply {number}")) as lock:
                    inside.append(number)
                    assert inside == [number]
                    assert lock.beat() == frozenset(HOSTS)
                    benches["h1"].host.effects.write_record(benches["h1"].claim(lock.token), b"%d" % number)
                    tokens.append(lock.token)
                    inside.remove(number)
            except (LockHeldError, UnobservedError):
                pass

    threads = [threading.Thread(target=contend, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tokens
    assert tokens == sorted(set(tokens))


def test_a_holder_who_was_taken_over_changes_nothing(benches: dict[str, Bench]) -> None:
    stores = {name: bench.host.store for name, bench in benches.items()}
    old = acquire([HOSTS], stores, Holder.here("old"))
    old.release()
    with acquire([HOSTS], stores, Holder.here("new")) as new:
        assert new.token == old.token + 1
        with pytest.raises(Fenced):
            benches["h2"].host.effects.write_record(benches["h2"].claim(old.token), b"x")
        with pytest.raises(Fenced):
            old.check()
