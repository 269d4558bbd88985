"""The lab's commands: none takes away what somebody made, and each says what was not there."""

from pathlib import Path

import pytest

from etcdplan.cli import demo
from etcdplan.cli.app import run
from etcdplan.errors import StoppedError
from etcdplan.lab.directory import LabDirectory
from etcdplan.lab.processes import destroy
from tests.support.command_line import words
from tests.unit.lab.labs import fake_programs, make_lab, processes_below, run_member


@pytest.fixture(autouse=True)
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ETCDPLAN_LAB_HOME", str(tmp_path / "labs"))
    return fake_programs(tmp_path / "programs")


def test_a_demo_does_not_take_the_place_of_a_lab(programs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lab = make_lab(programs, "demo")
    run_member(lab, 1)
    try:
        assert run(["lab", "demo"]) == 1
        assert "There is a lab 'demo' already" in words(capsys)
        assert processes_below(lab.path)
        assert lab.spec.exists()
    finally:
        destroy(lab)


def test_a_demo_removes_what_a_killed_one_left_and_itself_when_it_is_stopped(
    programs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    left = make_lab(programs, "demo", demo=True)
    run_member(left, 1)

    def show(version: str, etcd_dir: Path | None, *, keep: bool) -> int:
        assert not left.path.exists()
        assert not processes_below(left.path)
        make_lab(programs, "demo", demo=True)
        raise StoppedError("Stopped at a checkpoint.", hint="Go on with: etcdplan apply --resume SPEC.")

    monkeypatch.setattr(demo, "_show", show)
    assert run(["lab", "demo"]) == 6
    said = words(capsys)
    assert "its lab is removed" in said
    assert "--resume" not in said
    assert not left.path.exists()
    monkeypatch.setattr(demo, "_show", interrupted)
    assert run(["lab", "demo"]) == 130
    assert "its lab is removed" in words(capsys)


def interrupted(version: str, etcd_dir: Path | None, *, keep: bool) -> int:
    raise KeyboardInterrupt


def test_down_says_when_there_is_no_such_lab(programs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["lab", "down", "nolab"]) == 1
    assert "There is no lab 'nolab'" in words(capsys)
    lab = make_lab(programs, "half")
    (lab.path / "lab.json").unlink()
    assert run(["lab", "down", "nolab"]) == 1
    assert "There are: half." in words(capsys)
    assert run(["lab", "down", "half"]) == 0
    assert not lab.path.exists()
    lab.path.mkdir()
    assert run(["lab", "down", "half"]) == 0
    assert LabDirectory.all() == []


def test_the_header_of_a_labs_spec_names_commands_that_there_are(
    programs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lab = make_lab(programs)
    assert "#   etcdplan lab status\n" in lab.spec.read_text()
    assert run(["lab", "status"]) == 0
    destroy(lab)
