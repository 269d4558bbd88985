"""What a host keeps before a change, and how it goes back: whole, wherever it was cut, and never over another's."""

import subprocess
import time
from pathlib import Path

import pytest

from etcdplan.hosts.ports import HEARTBEAT_FILE
from etcdplan.hosts.processes import wait_until
from etcdplan.hosts.remote.script import source
from tests.unit.hosts.remote.conftest import SETTINGS, TOKEN, Bench

NEW = {**SETTINGS, "quota-backend-bytes": "1"}
UNIT = "etc/systemd/system/etcd.service"
WATCHER = "etcdplan-dead-man.service"


@pytest.fixture
def changed(bench: Bench) -> Bench:
    """A host on which etcd ran, and whose settings were changed since."""
    bench.host.effects.write_settings(bench.claim(), "etcd", SETTINGS)
    bench.host.effects.start(bench.claim(), "etcd")
    assert not armed(bench)
    bench.file("before", (bench.root / UNIT).read_text())
    bench.host.effects.write_settings(bench.claim(), "etcd", NEW)
    assert "quota" in (bench.root / UNIT).read_text()
    return bench


def armed(bench: Bench) -> list[Path]:
    return list((bench.root / "var/lib/etcdplan/dead-man").glob("armed/*"))


def fired(bench: Bench) -> str:
    file = bench.root / "var/lib/etcdplan/dead-man/fired/etcd.service"
    return file.read_text() if file.exists() else ""


def is_as_before(bench: Bench) -> bool:
    return (bench.root / UNIT).read_text() == (bench.root / "before").read_text()


def watch(bench: Bench, seconds: int) -> subprocess.Popen[bytes]:
    """Start what the service executes, with less patience."""
    return bench.shell.begin(source("effects", "dead_man"), "-", "watch", str(seconds), stdin=b"")


def beat(bench: Bench, number: int, token: int = TOKEN) -> None:
    bench.host.store.write(HEARTBEAT_FILE, f"{token} {number}\n".encode())


def test_armed_before_a_change_of_what_runs(changed: Bench) -> None:
    [record] = armed(changed)
    assert record.stat().st_mode & 0o777 == 0o600
    assert (changed.root / "etc/systemd/system" / WATCHER).exists()
    assert (changed.root / f"fake/{WATCHER}.enabled").read_text() == "enable"
    assert changed.etcd().armed
    assert not changed.etcd().rolled_back


def test_not_armed_for_what_does_not_run_or_only_an_empty_member_reads(bench: Bench) -> None:
    bench.host.effects.write_settings(bench.claim(), "etcd", SETTINGS)
    bench.host.effects.write_settings(bench.claim(), "etcd", NEW)
    bench.host.effects.start(bench.claim(), "etcd")
    bench.host.effects.write_settings(bench.claim(), "etcd", {**NEW, "initial-cluster-state": "existing"})
    assert not armed(bench)


def test_silence_puts_the_files_back_and_restarts_what_runs_with_the_new_ones(changed: Bench) -> None:
    changed.host.effects.stop(changed.claim(), "etcd")
    changed.host.effects.start(changed.claim(), "etcd")
    assert watch(changed, 0).wait(timeout=60) == 0
    assert is_as_before(changed)
    assert f"restart --no-block {'etcd.service'}" in changed.log()
    assert "put back: its controller gave no sign of life" in fired(changed)
    assert "put back" in changed.etcd().rolled_back
    assert not armed(changed)
    assert "quota-backend-bytes" not in changed.etcd().process.get().settings


def test_what_still_runs_with_the_old_ones_is_not_restarted(changed: Bench) -> None:
    assert watch(changed, 0).wait(timeout=60) == 0
    assert is_as_before(changed)
    assert fired(changed)
    assert "restart --no-block etcd.service" not in changed.log()


def test_not_while_the_holder_of_the_lock_gives_signs_of_life(changed: Bench) -> None:
    """Those of a controller that has been replaced count for nothing."""
    watcher = watch(changed, 4)
    until = time.monotonic() + 8
    for number in range(1000):
        beat(changed, number)
        if time.monotonic() > until:
            break
        assert watcher.poll() is None
        time.sleep(0.2)
    assert armed(changed)
    stop = iter(range(1000, 10000))

    def fires() -> bool:
        beat(changed, next(stop), TOKEN - 1)
        return not armed(changed)

    assert wait_until(fires, timeout=60)
    assert is_as_before(changed)


def test_disarmed_it_lets_the_change_be(changed: Bench) -> None:
    changed.host.effects.disarm(changed.claim(), "etcd")
    assert watch(changed, 0).wait(timeout=60) == 0
    assert not is_as_before(changed)
    assert not fired(changed)


def test_rolled_back_on_demand_once(changed: Bench) -> None:
    for _ in range(2):
        changed.host.effects.roll_back(changed.claim(), "etcd", "it\nended")
    assert is_as_before(changed)
    assert fired(changed).endswith("put back: its controller gave the new settings up: it ended\n")


def test_the_first_of_several_changes_is_gone_back_behind(changed: Bench) -> None:
    changed.host.effects.stop(changed.claim(), "etcd")
    changed.host.effects.write_settings(changed.claim(), "etcd", {**NEW, "snapshot-count": "5"})
    changed.host.effects.roll_back(changed.claim(), "etcd", "no")
    assert is_as_before(changed)
    assert changed.etcd().process.get() is not None


def test_what_somebody_else_has_changed_is_left_alone(changed: Bench) -> None:
    mine = changed.file(UNIT, (changed.root / UNIT).read_text() + "# mine\n").read_text()
    changed.host.effects.roll_back(changed.claim(), "etcd", "no")
    assert (changed.root / UNIT).read_text() == mine
    assert f"not put back, for somebody else has changed /{UNIT}" in fired(changed)
    assert not armed(changed)


@pytest.mark.parametrize("delay", [0.0, 0.02, 0.05, 0.08, 0.12, 0.2])
def test_cut_anywhere_it_is_done_by_the_next(changed: Bench, delay: float) -> None:
    changed.host.effects.stop(changed.claim(), "etcd")
    changed.host.effects.start(changed.claim(), "etcd")
    process = watch(changed, 0)
    cut = changed.shell.power_cut(process, delay)
    process.wait(timeout=60)
    cut.join()
    assert watch(changed, 0).wait(timeout=60) == 0
    assert is_as_before(changed)
    assert fired(changed)
    assert "quota-backend-bytes" not in changed.etcd().process.get().settings


def test_the_next_change_consumes_what_was_told(changed: Bench) -> None:
    changed.host.effects.roll_back(changed.claim(), "etcd", "no")
    changed.host.effects.write_settings(changed.claim(), "etcd", NEW)
    assert not fired(changed)
    assert armed(changed)
