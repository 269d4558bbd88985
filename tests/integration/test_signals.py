"""Signals during apply, and two applies at once."""

import json
import signal
from collections.abc import Iterator
from getpass import getuser
from pathlib import Path

import pytest

from tests.support.cli import Command, Lab

pytestmark = [pytest.mark.host, pytest.mark.timeout(300)]


def scaling(lab: Lab) -> tuple[Command, Path]:
    """Begin something that takes a while, and wait until it is in the middle of it; return it and its spec."""
    lab.up()
    five = lab.variant(members={f"member{number}": number for number in range(1, 6)})
    command = lab.start("apply", five, "--auto-approve")
    command.wait_for("as a learner")
    return command, five


@pytest.fixture(autouse=True)
def _terminal() -> Iterator[None]:
    """Let commands be started as in a terminal, also when the tests run under nohup."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGHUP, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_stops_at_a_checkpoint(lab: Lab, number: signal.Signals) -> None:
    command, five = scaling(lab)
    command.process.send_signal(number)
    done = command.end(expect=6)
    assert "Stopping at the next checkpoint" in done.err
    assert "Apply stopped: Stopped at a checkpoint" in done.err
    assert f"│     etcdplan apply --resume {five}\n" in done.err
    status = lab.run("status", five)
    assert "Unfinished run 00000002-" in status.out
    assert f"finish it with: etcdplan apply --resume {five}\n" in status.out
    assert "Note: Unfinished run 00000002-" in lab.run("plan", five).err
    effects = lab.effects()
    assert all("result" in note for note in effects.values()), "no effect was cut"
    lab.resume(five)
    lab.settled(five)
    left = json.loads(lab.run("status", five, "--json").out)
    assert (left["locks"], left["unfinished_run"]) == ([], None)


def test_the_second_signal_stops_at_once(lab: Lab) -> None:
    command, five = scaling(lab)
    command.process.send_signal(signal.SIGINT)
    command.wait_for("Interrupt received")
    command.process.send_signal(signal.SIGINT)
    done = command.end(expect=130, timeout=5)
    assert "Stopping at once" in done.err
    lab.resume(five)
    lab.settled(five)


def test_a_second_apply_at_once_is_told_who_holds_the_lock(lab: Lab) -> None:
    command, five = scaling(lab)
    # All at once, so that the first one is not done before the last one asks.
    second = lab.start("apply", five, "--auto-approve")
    resume = lab.start("apply", "--resume", five)
    plan = lab.start("plan", five, "--detailed-exitcode")
    status = lab.start("status", five, "--json")
    assert str(command.process.pid) in second.end(expect=4).err
    resume.end(expect=4)
    # A plan takes no lock.
    assert f"Note: Locked by {getuser()}@" in plan.end(expect=2).err
    seen = json.loads(status.end(expect=None).out)
    assert [(one["pid"], one["process"]) for one in seen["locks"]] == [(command.process.pid, "running")]
    assert seen["unfinished_run"]["id"].startswith("00000002-")
    command.end()
    # Effects begin with the fencing token: the founding's and this run's, and no other's.
    assert {Path(effect).name.split("-")[0] for effect in lab.effects()} == {"00000001", "00000002"}
    lab.settled(five)
