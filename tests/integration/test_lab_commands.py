"""`etcdplan lab` and the main job, command by command, as a user types them."""

import json
import os
import re
import signal
from pathlib import Path

import pytest

from tests.support.cli import Lab

pytestmark = [pytest.mark.host, pytest.mark.timeout(300)]


def check_gone(lab: Lab) -> None:
    """Check that a lab has left nothing: no process, no file, no entry in the list of labs."""
    assert lab.processes() == []
    assert not lab.place.path.exists()
    assert lab.name not in json.loads(lab.run("lab", "status", "--json").out)["labs"]
    assert [path for path in lab.state_home.rglob("*") if lab.name in path.parts[-2:]] == []


def test_up_break_plan_apply_down(lab: Lab, tmp_path: Path) -> None:
    assert f"lab break member2 --lab {lab.name}" in lab.up().out
    lab.break_("member2")
    saved = tmp_path / "plan.json"
    shown = lab.run("plan", lab.spec, "--out", saved).out
    assert "5 steps, 2 destructive" in shown
    assert lab.run("show", saved).out.split("Plan digest")[0] in shown
    assert "Apply complete! Steps: 5 done" in lab.run("apply", saved).err
    lab.settled()
    assert list(lab.state_home.rglob(f"{lab.name}/*.jsonl"))
    # What was approved has been done; it is not done once more.
    before = lab.effects()
    stale = lab.run("apply", saved, expect=3)
    assert "stale" in stale.err
    # A difference a line.
    assert re.search(r"^│ - member/.*: member2, .* -> member2, voter, serves$", stale.err, re.MULTILINE), (
        stale.err
    )
    assert lab.effects() == before
    assert "3 of 3 voters serve" in lab.run("status", lab.spec).out
    lab.run("lab", "down", lab.name)
    check_gone(lab)


def test_two_labs_side_by_side(lab: Lab, tmp_path: Path) -> None:
    with Lab(tmp_path, name="other") as other:
        # At the same time, so that they choose their networks at the same time.
        commands = [one.start("lab", "up", one.name, "--members", "1") for one in (lab, other)]
        for command in commands:
            command.end()
        assert lab.network != other.network
        for one in (lab, other):
            one.settled()
        pids = other.pids()
        lab.run("lab", "down", lab.name)
        assert not lab.place.path.exists()
        assert other.pids() == pids
        other.settled()
        other.run("lab", "down", other.name)
        check_gone(other)


@pytest.mark.parametrize("step", [1, 11, 12], ids=["nothing runs yet", "an etcd runs", "two etcds run"])
def test_what_a_killed_lab_leaves_is_cleaned(lab: Lab, step: int) -> None:
    command = lab.start("lab", "up", lab.name)
    command.wait_for(f"[{step}/")
    os.killpg(command.process.pid, signal.SIGKILL)
    command.end(expect=-signal.SIGKILL)
    assert bool(lab.processes()) == (step > 1)
    assert "There is a lab 'demo' already" in lab.run("lab", "up", lab.name, expect=1).err
    lab.run("lab", "down", lab.name)
    check_gone(lab)
    assert "There is no lab 'demo'" in lab.run("lab", "down", lab.name, expect=1).err


def test_what_a_killed_demo_leaves_is_cleaned(lab: Lab) -> None:
    command = lab.start("lab", "demo")
    command.wait_for("[12/")
    busy = lab.run("lab", "demo", expect=1)
    assert "under way already" in busy.err
    os.killpg(command.process.pid, signal.SIGKILL)
    command.end(expect=-signal.SIGKILL)
    assert lab.processes()
    again = lab.start("lab", "demo")
    again.wait_for("[12/")
    again.process.send_signal(signal.SIGINT)
    stopped = again.end(expect=6)
    assert "its lab is removed" in stopped.err
    assert "--resume" not in stopped.err
    check_gone(lab)
