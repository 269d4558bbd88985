"""What runs in a lab: seen, broken, and gone without a trace."""

import signal
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from etcdplan.hosts.processes import processes_with, wait_until
from etcdplan.hosts.supervisor import UNIT_VARIABLE
from etcdplan.hosts.unit_files import UnitFiles
from etcdplan.lab.directory import LabDirectory
from etcdplan.lab.errors import LabError
from etcdplan.lab.processes import break_member, destroy, end_processes, status
from etcdplan.model.state import ETCD
from tests.unit.lab.labs import MakeLab, fake_programs, make_lab, processes_below, run_member


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ETCDPLAN_LAB_HOME", str(tmp_path / "labs"))
    return tmp_path.resolve() / "labs"


@pytest.fixture
def make(tmp_path: Path) -> Iterator[MakeLab]:
    yield partial(make_lab, fake_programs(tmp_path / "bin"))
    for lab in LabDirectory.all():
        end_processes(lab)


@pytest.fixture
def lab(make: MakeLab) -> LabDirectory:
    return make()


def test_status_tells_every_unit_that_was_asked_to_run(lab: LabDirectory, tmp_path: Path) -> None:
    assert status(lab) == []
    units = {number: run_member(lab, number) for number in (1, 2, 3, 4)}
    process = units[2].process()
    assert process is not None
    process.send(signal.SIGSTOP)
    assert wait_until(process.is_stopped, timeout=5)
    units[3].stop()
    units[4].hold()
    found = status(lab)
    network = lab.file().network
    assert [(one.host, one.unit, one.name, one.state) for one in found] == [
        (f"{network}.1", ETCD, "member1", "running"),
        (f"{network}.2", ETCD, "member2", "hung"),
        (f"{network}.3", ETCD, "member3", "down"),
        (f"{network}.4", ETCD, "member4", "held"),
    ]
    assert found[1].pid == process.pid
    assert found[2].pid is None


def test_status_of_half_a_lab(lab: LabDirectory) -> None:
    run_member(lab, 1)
    (lab.path / "lab.json").unlink()
    assert [one.state for one in status(lab)] == ["running"]


def test_status_tells_api_servers(make: MakeLab, tmp_path: Path) -> None:
    lab = make("with-api", api_servers=1, kube_apiserver=tmp_path / "bin/kube-apiserver")
    host = lab.hosts / f"{lab.file().network}.11"
    assert status(lab) == []
    UnitFiles(host, "apiserver/cp1").write({"etcd-servers": "http://127.0.0.1:1"})
    assert [(one.unit, one.name, one.state) for one in status(lab)] == [("apiserver/cp1", "cp1", "down")]


def test_a_disk_is_lost(lab: LabDirectory) -> None:
    unit, other = run_member(lab, 2), run_member(lab, 3)
    said = break_member(lab, "member2")
    assert "killed etcd of member2" in said
    assert "removed its data" in said
    assert unit.process() is None
    assert not (unit.root / "var/lib/etcd").exists()
    assert (unit.root / "etc/etcdplan/etcd.flags").exists()
    assert other.process() is not None
    assert (other.root / "var/lib/etcd/member").exists()
    assert "removed its data" in break_member(lab, "member2"), "what is broken may be broken again"


def test_a_separate_log_is_lost_too(lab: LabDirectory) -> None:
    unit = run_member(lab, 1, **{"wal-dir": "/wal"})
    (unit.root / "wal").mkdir()
    break_member(lab, "member1")
    assert not (unit.root / "wal").exists()


def test_a_process_is_killed(lab: LabDirectory) -> None:
    unit = run_member(lab, 1)
    assert "killed" in break_member(lab, "member1", "kill")
    assert unit.process() is None
    assert not processes_below(unit.root), "its supervisor does not start it again"
    assert (unit.root / "var/lib/etcd/member").exists()
    assert not unit.failing


def test_a_process_hangs(lab: LabDirectory) -> None:
    unit = run_member(lab, 1)
    assert "SIGSTOP" in break_member(lab, "member1", "hang")
    process = unit.process()
    assert process is not None
    assert process.is_stopped()
    unit.stop()
    with pytest.raises(LabError, match="does not run"):
        break_member(lab, "member1", "hang")


def test_a_host_is_taken_away(lab: LabDirectory) -> None:
    unit = run_member(lab, 2)
    assert "whole host" in break_member(lab, "member2", "host")
    assert not unit.root.exists()
    assert not processes_below(lab.path)
    assert len(list((lab.path / "gone").glob("*/var/lib/etcd/member"))) == 1
    with pytest.raises(LabError, match="No host"):
        break_member(lab, "member2", "host")


def test_of_two_with_the_name_the_running_one_is_meant(lab: LabDirectory) -> None:
    """A member that moved leaves its settings on the old host."""
    old, new = run_member(lab, 2), run_member(lab, 4, "member2")
    old.hold()
    break_member(lab, "member2", "kill")
    assert new.process() is None
    new.stop()
    break_member(lab, "member2")
    assert not (new.root / "var/lib/etcd").exists()
    assert (old.root / "var/lib/etcd").exists()


def test_there_is_no_such_member(lab: LabDirectory) -> None:
    with pytest.raises(LabError, match="named 'member1'") as refused:
        break_member(lab, "member1")
    assert "apply" in refused.value.hint
    run_member(lab, 1)
    with pytest.raises(LabError, match="named 'member7'") as refused:
        break_member(lab, "member7")
    assert "member1" in refused.value.hint
    with pytest.raises(LabError, match="cannot be broken by 'magic'"):
        break_member(lab, "member1", "magic")  # type: ignore[arg-type]


@pytest.mark.parametrize("place", ["/../../../outside", "/link", "/"])
def test_data_outside_the_host_is_left_alone(lab: LabDirectory, tmp_path: Path, place: str) -> None:
    outside = lab.path / "outside"
    outside.mkdir()
    (outside / "keep").touch()
    unit = run_member(lab, 1)
    (unit.root / "link").symlink_to(outside)
    UnitFiles(unit.root, ETCD).write({"name": "member1", "data-dir": place})
    with pytest.raises(LabError, match="left alone"):
        break_member(lab, "member1")
    assert (outside / "keep").exists()
    assert unit.root.exists()


def test_destroy_leaves_nothing(lab: LabDirectory, home: Path) -> None:
    units = [run_member(lab, number) for number in (1, 2, 3, 4)]
    halted = units[0].process()
    assert halted is not None
    halted.send(signal.SIGSTOP)
    # A program whose supervisor was killed, and one whose pid file was never written.
    for process in processes_below(units[1].root):
        if process.argv()[3:4] == ["etcdplan-supervisor"]:
            process.send(signal.SIGKILL)
    (units[2].root / "run/etcdplan/etcd.pid").unlink()
    destroy(lab)
    assert not processes_below(lab.path)
    assert not lab.path.exists()
    destroy(lab)
    assert [entry.name for entry in home.iterdir()] == [".lock"]


def test_destroy_ends_a_crash_loop(lab: LabDirectory, tmp_path: Path) -> None:
    (tmp_path / "bin/etcd").write_text("#!/bin/sh\nexit 1\n")
    run_member(lab, 1)
    destroy(lab)
    assert not wait_until(lambda: lab.path.exists() or bool(processes_below(lab.path)), timeout=1.5)


def test_destroy_ends_what_runs_in_half_a_lab(lab: LabDirectory) -> None:
    run_member(lab, 1)
    (lab.path / "lab.json").unlink()
    destroy(LabDirectory.named("demo"))
    assert not processes_below(lab.path)
    assert not lab.path.exists()


def test_destroy_leaves_others_alone(make: MakeLab, lab: LabDirectory, tmp_path: Path) -> None:
    """Another lab whose name begins alike, and a user who reads a log of this one."""
    other = run_member(make("demo2"), 1)
    unit = run_member(lab, 1)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "keep").touch()
    (unit.root / "var/lib/etcd/link").symlink_to(outside)
    (lab.path / "link").symlink_to(outside)
    quiet = subprocess.DEVNULL
    with subprocess.Popen(["tail", "-F", str(unit.log)], stdout=quiet, stderr=quiet) as reader:
        destroy(lab)
        assert reader.poll() is None
        reader.kill()
    assert other.process() is not None
    assert (outside / "keep").exists()


def test_destroy_does_not_follow_a_link(lab: LabDirectory, home: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "keep").touch()
    (home / "trap").symlink_to(victim)
    with pytest.raises(LabError, match="is a link"):
        destroy(LabDirectory.named("trap"))
    assert (victim / "keep").exists()


def test_a_lab_is_found_by_a_home_behind_a_link(
    lab: LabDirectory, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "short").symlink_to(home)
    monkeypatch.setenv("ETCDPLAN_LAB_HOME", str(tmp_path / "short"))
    run_member(lab, 1)
    same = LabDirectory.find("demo")
    assert [one.state for one in status(same)] == ["running"]
    destroy(same)
    assert not list(processes_with(UNIT_VARIABLE, lambda value: value.startswith(str(tmp_path))))
    assert not lab.path.exists()
