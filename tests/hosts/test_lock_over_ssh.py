"""The lock, fencing and sessions on systemd hosts over SSH: frozen holders, and who takes over from them."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from etcdplan.hosts.processes import wait_until
from tests.support.fleet import Done, Fleet

pytestmark = [pytest.mark.bed, pytest.mark.timeout(600)]

_OTHER_MACHINE = ("unshare", "--pid", "--fork", "--mount-proc", "--propagation", "slave", "--kill-child")
"""What a process is started with that cannot see whether one of ours lives."""
_FROZEN = 60.0


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    with Fleet.up(tmp_path, 4) as fleet:
        yield fleet


def elsewhere(fleet: Fleet) -> Fleet:
    """Return the fleet as another machine's runner reaches it."""
    return replace(fleet, command=(*_OTHER_MACHINE, *fleet.command), runners=fleet.runners + 1)


@contextmanager
def frozen_before(fleet: Fleet, method: str) -> Iterator[subprocess.Popen[str]]:
    """Yield an apply that is frozen just before it calls etcd."""
    freezing = replace(fleet, command=(sys.executable, "-m", "tests.hosts.freezing", method))
    with freezing.start("apply", fleet.spec, "--auto-approve") as apply:
        try:
            assert wait_until(lambda: is_stopped(apply), timeout=120), "it did not come that far"
            yield apply
        finally:
            apply.kill()


def is_stopped(process: subprocess.Popen[str]) -> bool:
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def goes_on(apply: subprocess.Popen[str], since: float) -> Done:
    """Let it go on when it was frozen long enough, and return how it ended."""
    time.sleep(max(0.0, since + _FROZEN - time.monotonic()))
    apply.send_signal(signal.SIGCONT)
    out, err = apply.communicate(timeout=120)
    return Done(apply.returncode, out, err)


@contextmanager
def bystander(fleet: Fleet) -> Iterator[subprocess.Popen[bytes]]:
    """Hold an SSH session of the same user on host 1."""
    to = f"{fleet.user}@{fleet.host(1).address}"
    options = ("-F", "none", "-i", fleet.bed.identity, "-o", f"UserKnownHostsFile={fleet.bed.known_hosts}")
    command = ["ssh", *options, "-o", "BatchMode=yes", to, "echo in; exec sleep 600"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as session:
        assert session.stdout is not None
        assert session.stdout.readline() == b"in\n"
        yield session
        session.kill()


@pytest.mark.parametrize("user", ["deploy", "root"])
def test_what_a_frozen_holder_was_about_to_call_reaches_no_etcd(fleet: Fleet, user: str) -> None:
    fleet.user = user
    fleet.write_spec((1, 2, 3))
    fleet.apply()
    fleet.write_spec((1, 2, 4))
    with bystander(fleet) as session, frozen_before(fleet, "member_add") as old:
        since = time.monotonic()
        fleet.write_spec((1, 2, 3), quotaBackend="4GiB")
        took_over = elsewhere(fleet).apply()
        assert f"process {old.pid} (apply), which is dead" in took_over.err
        ended = goes_on(old, since)
        assert session.poll() is None, "only the holder's own sessions are ended"
    fleet.settled(3)
    assert ended.code == 4, ended
    assert "taken over" in ended.err


def test_a_run_that_was_frozen_leaves_the_rest_to_the_one_that_resumed_it(fleet: Fleet) -> None:
    fleet.write_spec((1, 2, 3))
    fleet.apply()
    fleet.write_spec((1, 2, 4))
    with frozen_before(fleet, "member_promote") as old:
        since = time.monotonic()
        with pytest.raises(AssertionError, match="is stopped"):
            fleet.resume()
        elsewhere(fleet).resume()
        fleet.settled(3)
        ended = goes_on(old, since)
    fleet.settled(3)
    assert ended.code == 4, ended
    assert "taken over" in ended.err


def test_a_host_that_dies_in_the_middle_ends_the_run_in_time(fleet: Fleet) -> None:
    fleet.write_spec((1, 2, 3))
    dying = fleet.host(3)
    with fleet.start("apply", fleet.spec, "--auto-approve") as apply:
        assert apply.stderr is not None
        assert any(dying.address in line for line in apply.stderr), "its turn never came"
        dying.cut_network()
        told = [apply.stderr.readline()]
        since = time.monotonic()
        while line := apply.stderr.readline():
            told.append(f"{time.monotonic() - since:.1f} s: {line}")
        assert apply.wait(60) in (6, 7, 8), told
    assert time.monotonic() - since < 90, told
    assert any("Error" in line for line in told), told
    assert any(dying.address in line for line in told[1:]), told
