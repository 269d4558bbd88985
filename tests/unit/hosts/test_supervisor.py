"""A unit's process: started, kept running, and never mistaken for another one."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from etcdplan.hosts import supervisor
from etcdplan.hosts.ports import HostRefused
from etcdplan.hosts.processes import ProcessId, boot_id, identify, processes_with, wait_until
from etcdplan.hosts.supervisor import UNIT_VARIABLE, SupervisedUnit
from tests.unit.hosts.child import in_child

Program = Callable[[str], str]

FOREVER = "while :; do read -r line </proc/uptime; sleep 0.05; done"


def running(unit: SupervisedUnit) -> ProcessId:
    process = unit.process()
    assert process is not None
    return process


def everything_of(unit: SupervisedUnit) -> list[ProcessId]:
    return list(processes_with(UNIT_VARIABLE, lambda value: value == str(unit.root / "run/etcdplan/etcd")))


def eventually(condition: Callable[[], bool], *, within: float = 10.0) -> None:
    assert wait_until(condition, timeout=within)


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A process that is none of the unit's business."""
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def test_starts_a_program_with_its_arguments(unit: SupervisedUnit, program: Program) -> None:
    path = program(FOREVER)
    before = time.time()
    unit.start([path, "--name=m 1", "--data-dir=/x*y"])
    process = running(unit)
    assert process.argv()[1:] == [path, "--name=m 1", "--data-dir=/x*y"]
    assert process.program() == os.path.realpath("/bin/sh")
    assert abs(process.started() - before) <= 2
    assert not unit.held
    assert not unit.failing


def test_gives_the_program_no_environment_of_the_controller(
    unit: SupervisedUnit, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ETCD_NAME", "would be a conflict")
    monkeypatch.setenv("SECRET", "hush")
    unit.start([program(f"env; {FOREVER}")])
    eventually(lambda: UNIT_VARIABLE in unit.log.read_text())
    log = unit.log.read_text()
    assert "ETCD_NAME" not in log
    assert "hush" not in log


def test_survives_the_controller_and_its_terminal(unit: SupervisedUnit, program: Program) -> None:
    path = program(FOREVER)

    def control() -> None:
        os.setsid()
        unit.start([path])

    assert in_child(control) == 0
    process = running(unit)
    assert os.getsid(process.pid) != os.getsid(0)
    assert Path(f"/proc/{process.pid}/fd/0").readlink() == Path("/dev/null")
    supervisors = [part for part in everything_of(unit) if part.argv()[3:4] == ["etcdplan-supervisor"]]
    assert [os.getsid(part.pid) for part in supervisors] == [os.getsid(process.pid)]


def test_refuses_to_start_what_runs(unit: SupervisedUnit, program: Program) -> None:
    path = program(FOREVER)
    unit.start([path])
    first = running(unit)
    with pytest.raises(HostRefused, match="runs already"):
        unit.start([path])
    assert unit.process() == first


def test_refuses_to_start_what_runs_though_its_pid_file_is_lost(
    unit: SupervisedUnit, program: Program
) -> None:
    path = program(FOREVER)
    unit.start([path])
    (unit.root / "run/etcdplan/etcd.pid").unlink()
    assert unit.process() is None
    with pytest.raises(HostRefused, match="runs already"):
        unit.start([path])
    unit.stop()
    assert not everything_of(unit)


def test_refuses_a_program_that_is_not_there(unit: SupervisedUnit) -> None:
    with pytest.raises(HostRefused, match="not there"):
        unit.start([str(unit.root / "etcd")])


def test_says_when_even_the_supervisor_cannot_run(
    unit: SupervisedUnit, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "_SCRIPT", "exit 1")
    unit.hold()
    with pytest.raises(HostRefused, match="could not be started"):
        unit.start([program(FOREVER)])
    assert unit.held
    assert not everything_of(unit)


def test_restarts_what_fails_three_times_then_gives_up(unit: SupervisedUnit, program: Program) -> None:
    began = time.monotonic()
    unit.start([program("echo one more; exit 2")])
    eventually(lambda: unit.failing)
    assert time.monotonic() - began > 1.9
    assert unit.log.read_text().count("one more") == 3
    assert unit.process() is None
    eventually(lambda: not everything_of(unit))


def test_a_new_start_wipes_the_slate_clean(unit: SupervisedUnit, program: Program) -> None:
    unit.start([program("exit 2")])
    eventually(lambda: unit.failing)
    unit.start([program(FOREVER)])
    assert not unit.failing
    assert running(unit)


def test_a_start_while_the_supervisor_waits_takes_its_place(unit: SupervisedUnit, program: Program) -> None:
    unit.start([program("exit 2", name="old")])
    eventually(lambda: unit.process() is None)
    unit.start([program(FOREVER)])
    process = running(unit)
    # The old supervisor would have started its own program a second after the failure.
    assert not wait_until(lambda: unit.process() != process, timeout=1.5)
    assert len([part for part in everything_of(unit) if part.argv()[3:4] == ["etcdplan-supervisor"]]) == 1


def test_a_helper_of_the_supervisor_is_no_program(
    unit: SupervisedUnit,
    program: Program,
    bystander: subprocess.Popen[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Seen first as a fork of the supervisor, it is the `sleep` between two starts when its arguments are read."""
    helper = identify(bystander.pid)
    looks = iter([[helper]])
    monkeypatch.setattr(
        supervisor, "processes_with", lambda *asked: next(looks, None) or processes_with(*asked)
    )
    unit.start([program(FOREVER)])
    assert running(unit) != helper
    assert bystander.poll() is None


def test_what_ends_well_is_not_started_again(unit: SupervisedUnit, program: Program) -> None:
    unit.start([program("exit 0")])
    eventually(lambda: not everything_of(unit))
    assert unit.log.read_text().count("status 0") == 1
    assert not unit.failing
    assert unit.process() is None


def test_what_is_killed_is_not_started_again(unit: SupervisedUnit, program: Program) -> None:
    unit.start([program(FOREVER)])
    running(unit).send(signal.SIGKILL)
    eventually(lambda: not everything_of(unit))
    assert unit.process() is None
    assert not unit.failing


def test_stop_leaves_nothing(unit: SupervisedUnit, program: Program) -> None:
    unit.start([program(f"trap 'echo ended by a signal; exit 0' TERM; {FOREVER}")])
    unit.stop()
    assert unit.process() is None
    assert not everything_of(unit)
    assert "ended by a signal" in unit.log.read_text()
    unit.stop()


def test_stop_kills_what_does_not_end(
    unit: SupervisedUnit, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "GRACE", 0.5)
    unit.start([program(f"trap '' TERM; echo deaf; {FOREVER}")])
    eventually(lambda: "deaf" in unit.log.read_text())
    began = time.monotonic()
    unit.stop()
    assert 0.5 <= time.monotonic() - began < 5
    assert not everything_of(unit)


def test_stop_kills_at_once_what_is_halted(unit: SupervisedUnit, program: Program) -> None:
    unit.start([program(FOREVER)])
    process = running(unit)
    process.send(signal.SIGSTOP)
    eventually(process.is_stopped)
    assert unit.process() == process
    began = time.monotonic()
    unit.stop()
    assert time.monotonic() - began < 5
    assert not everything_of(unit)


def test_stop_ends_a_halted_supervisor(unit: SupervisedUnit, program: Program) -> None:
    unit.start([program(FOREVER)])
    for process in everything_of(unit):
        process.send(signal.SIGSTOP)
    unit.stop()
    assert not everything_of(unit)


def test_hold_stops_and_marks(unit: SupervisedUnit, program: Program) -> None:
    path = program(FOREVER)
    unit.start([path])
    unit.hold()
    assert unit.held
    assert unit.process() is None
    unit.start([path])
    assert not unit.held
    assert running(unit)


def test_hold_leaves_the_mark_of_failure(unit: SupervisedUnit, program: Program) -> None:
    unit.start([program("exit 2")])
    eventually(lambda: unit.failing)
    unit.hold()
    assert (unit.held, unit.failing) == (True, True)


def test_hold_that_cannot_be_written_stops_nothing(
    unit: SupervisedUnit, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    unit.start([program(FOREVER)])

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
        patch.setattr(os, "fsync", full)
        unit.hold()
    assert running(unit)
    assert not unit.held


@pytest.mark.parametrize("what", ["start", "boot"])
def test_a_recycled_number_is_nobody_of_ours(
    unit: SupervisedUnit, program: Program, bystander: subprocess.Popen[bytes], what: str
) -> None:
    unit.start([program(FOREVER)])
    unit.stop()
    other = identify(bystander.pid)
    assert other is not None
    start = other.start - 1 if what == "start" else other.start
    boot = boot_id() if what == "start" else "another-boot"
    pid_file = unit.root / "run/etcdplan/etcd.pid"
    pid_file.write_text(f"{other.pid} {start} {boot}\n")
    assert unit.process() is None
    unit.stop()
    assert bystander.poll() is None
    # The file is believed when all of it is right.
    pid_file.write_text(f"{other.pid} {other.start} {boot_id()}\n")
    assert unit.process() == other


def test_a_torn_pid_file_is_no_process(unit: SupervisedUnit, program: Program) -> None:
    unit.start([program(FOREVER)])
    (unit.root / "run/etcdplan/etcd.pid").write_text("12")
    assert unit.process() is None


def test_the_log_is_rotated_at_a_start(
    unit: SupervisedUnit, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "_LOG_LIMIT", 100)
    path = program("echo 12345678901234567890; exit 0")
    for _ in range(6):
        unit.start([path])
        eventually(lambda: not everything_of(unit))
    former = unit.log.with_name("etcd.log.1")
    assert 100 < former.stat().st_size < 200
    assert unit.log.stat().st_size <= 200


def test_files_are_private(unit: SupervisedUnit, program: Program) -> None:
    unit.start([program(FOREVER)])
    assert unit.log.stat().st_mode & 0o777 == 0o600
    assert (unit.root / "run/etcdplan").stat().st_mode & 0o777 == 0o700
    assert Path(f"/proc/{running(unit).pid}/cwd").readlink() == Path("/")


def test_what_ends_at_once_was_started_all_the_same(unit: SupervisedUnit, program: Program) -> None:
    """The shell may have reaped it before it can look when it was started."""
    path = program("exit 0")
    for _ in range(40):
        unit.start([path])
        eventually(lambda: unit.process() is None)
    eventually(lambda: "status 0" in unit.log.read_text())
