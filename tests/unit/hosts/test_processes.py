"""Processes of this machine."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest

from etcdplan.hosts.processes import ProcessId, identify, processes_with, wait_until


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"], env={**os.environ, "A_MARK": "of mine"}) as process:
        yield process
        process.kill()


def found(process: subprocess.Popen[bytes]) -> ProcessId:
    identity = identify(process.pid)
    assert identity is not None
    return identity


def test_a_living_process(sleeper: subprocess.Popen[bytes]) -> None:
    process = found(sleeper)
    assert process.state() in ("S", "R", "D")
    assert wait_until(lambda: process.argv() == ["sleep", "60"], timeout=5)
    assert process.program() == os.path.realpath("/bin/sleep")
    assert abs(process.started() - time.time()) <= 2
    assert [part.pid for part in processes_with("A_MARK", lambda value: value == "of mine")] == [sleeper.pid]
    assert not list(processes_with("A_MARK", lambda value: value == "of yours"))


def test_a_zombie_is_gone(sleeper: subprocess.Popen[bytes]) -> None:
    process = found(sleeper)
    process.send(signal.SIGKILL)
    assert wait_until(lambda: not process.state(), timeout=5)
    assert identify(sleeper.pid) is not None, "its parent has not waited for it"
    assert (process.argv(), process.program()) == ([], "")


def test_a_process_that_was_reaped_is_gone(sleeper: subprocess.Popen[bytes]) -> None:
    process = found(sleeper)
    sleeper.kill()
    sleeper.wait(10)
    assert identify(sleeper.pid) is None
    assert (process.state(), process.argv(), process.program()) == ("", [], "")
    process.send(signal.SIGKILL)


def test_another_process_with_the_number_gets_no_signal(sleeper: subprocess.Popen[bytes]) -> None:
    former = ProcessId(sleeper.pid, found(sleeper).start - 1)
    assert (former.state(), former.argv()) == ("", [])
    former.send(signal.SIGKILL)
    with pytest.raises(subprocess.TimeoutExpired):
        sleeper.wait(0.3)


def test_without_pidfd_too(sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    def old_kernel(_: int) -> int:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(os, "pidfd_open", old_kernel)
    ProcessId(sleeper.pid, 1).send(signal.SIGKILL)
    process = found(sleeper)
    assert process.state()
    process.send(signal.SIGKILL)
    assert sleeper.wait(10) == -signal.SIGKILL


def test_a_name_with_parentheses_is_read_right(tmp_path: os.PathLike[str]) -> None:
    name = os.path.join(tmp_path, "a) S 1 (b")  # noqa: PTH118
    os.symlink(os.path.realpath("/bin/sleep"), name)  # noqa: PTH211
    with subprocess.Popen([name, "60"]) as process:
        identity = found(process)
        assert wait_until(lambda: identity.argv()[:1] == [name], timeout=5)
        assert found(process) == identity
        process.kill()


def test_a_wait_ends_at_its_deadline() -> None:
    began = time.monotonic()
    assert not wait_until(lambda: False, timeout=0.1)
    assert time.monotonic() - began < 2
    assert wait_until(lambda: True, timeout=0)


def test_a_process_that_turns_into_another_program_is_seen_all_the_time() -> None:
    """Its environment and arguments read as empty for a moment in the middle of it."""
    script = 'if [ $1 -gt 0 ]; then exec /bin/sh -c "$2" x $(($1 - 1)) "$2"; fi; read -r line'
    argv = ["/bin/sh", "-c", script, "x", "1500", script]
    with subprocess.Popen(argv, env={"A_MARK": "turning"}, stdin=subprocess.PIPE) as process:
        identity = found(process)
        seen = 0
        while identity.argv()[4:5] != ["0"]:
            assert list(processes_with("A_MARK", lambda value: value == "turning")) == [identity]
            seen += 1
        assert seen > 10
        process.kill()
