"""Real processes on real directories: contention, SIGKILL and SIGSTOP of the holder."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from etcdplan.apply.holder import Holder, Life, life
from etcdplan.apply.lock import acquire
from etcdplan.errors import LockHeldError
from etcdplan.hosts.ports import Claim
from etcdplan.transport.local import LocalHosts
from tests.support.clock import VirtualClock
from tests.unit.apply.lock_process import HOSTS


class Process:
    """One `lock_process`."""

    def __init__(self, mode: str, directory: Path, *arguments: object) -> None:
        command = [sys.executable, "-m", "tests.unit.apply.lock_process", mode, str(directory)]
        self.popen = subprocess.Popen(
            [*command, *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def answer(self) -> Any:
        assert self.popen.stdout is not None
        line = self.popen.stdout.readline()
        assert line, f"the process ended with {self.popen.wait(10)}"
        return json.loads(line)

    def ask(self, line: str) -> Any:
        self.send(line)
        return self.answer()

    def send(self, line: str) -> None:
        assert self.popen.stdin is not None
        self.popen.stdin.write(line + "\n")
        self.popen.stdin.flush()

    def signal(self, number: int, state: str) -> None:
        """Send a signal and wait until the process is in the state (proc(5))."""
        os.kill(self.popen.pid, number)
        deadline = time.monotonic() + 20
        stat = Path(f"/proc/{self.popen.pid}/stat")
        while stat.read_text().rpartition(")")[2].split()[0] not in state:
            assert time.monotonic() < deadline, f"no state {state}"
            time.sleep(0.005)

    def end(self) -> None:
        self.popen.kill()
        with self.popen:
            self.popen.wait(20)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[LocalHosts]:
    for host in HOSTS:
        (tmp_path / "hosts" / host / "var/lib").mkdir(parents=True)
    hosts = LocalHosts(tmp_path / "hosts", versions={}, credentials=None)
    yield hosts
    hosts.close()


@pytest.fixture
def holder(world: LocalHosts, tmp_path: Path) -> Iterator[Process]:
    process = Process("hold", tmp_path)
    try:
        assert process.answer() == 1
        yield process
    finally:
        process.end()


def here() -> Holder:
    return Holder.here("pytest")


def elsewhere() -> Holder:
    return replace(here(), host="runner2", boot_id="another boot")


@pytest.mark.usefixtures("world")
def test_contending_processes_are_never_two(tmp_path: Path) -> None:
    tokens: list[int] = []
    tried = 0
    with ExitStack() as stack:
        processes = [Process("contend", tmp_path, 20) for _ in range(4)]
        for process in processes:
            stack.callback(process.end)
        for process in processes:
            attempts, found = process.answer()
            assert found == sorted(found)
            tried, tokens = tried + attempts, tokens + found
    assert len(tokens) == len(set(tokens)) == 80
    assert tried > 200, "they did not contend"
    assert not (tmp_path / "inside").exists()


@pytest.mark.parametrize("reaped", [True, False])
def test_the_lock_of_a_killed_process_is_free_at_once(
    world: LocalHosts, holder: Process, reaped: bool
) -> None:
    stores = {host: world.host(host).store for host in HOSTS}
    with pytest.raises(LockHeldError, match=f"process {holder.popen.pid} "):
        acquire([HOSTS], stores, here())
    holder.signal(signal.SIGKILL, "Z")
    if reaped:
        holder.popen.wait(20)
    started = time.monotonic()
    with acquire([HOSTS], stores, here(), wait=0.0) as lock:
        assert lock.token == 2
        assert [dead.pid for dead in lock.taken_over] == [holder.popen.pid]
    assert time.monotonic() - started < 5


def test_a_stopped_process_of_this_machine_keeps_the_lock(world: LocalHosts, holder: Process) -> None:
    stores = {host: world.host(host).store for host in HOSTS}
    holder.signal(signal.SIGSTOP, "T")
    with pytest.raises(LockHeldError, match="SIGSTOP") as caught:
        acquire([HOSTS], stores, here())
    assert f"kill -CONT {holder.popen.pid}" in caught.value.hint
    holder.signal(signal.SIGCONT, "SRD")
    assert holder.ask("check") == "done"


def test_a_late_effect_of_a_stopped_process_is_fenced(world: LocalHosts, holder: Process) -> None:
    stores = {host: world.host(host).store for host in HOSTS}
    assert holder.ask("check") == "done"
    assert holder.ask("127.0.0.1 early") == "done"
    holder.signal(signal.SIGSTOP, "T")
    for host in HOSTS:
        holder.send(f"{host} late")
    # Seen from another machine it is silent; the thirty seconds are the test's.
    with acquire([HOSTS], stores, elsewhere(), clock=VirtualClock()) as lock:
        assert lock.token == 2
        world.host("127.0.0.1").effects.write_record(Claim(lock.token, "new"), b"new")
        holder.signal(signal.SIGCONT, "SRD")
        assert [holder.answer() for _ in HOSTS] == ["Fenced"] * 3
        assert [holder.ask(what) for what in ("check", "beat")] == ["Fenced"] * 2
        lock.check()
    assert [stores[host].read("record.json") for host in HOSTS] == [b"new", None, None]


def test_a_process_of_another_user_lives() -> None:
    """Signals to it are refused, which shows that it is there."""
    pid = 1
    started = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    assert life(replace(here(), pid=pid, pid_started=started), here()) in (Life.RUNNING, Life.FROZEN)
