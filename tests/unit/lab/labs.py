"""Labs whose etcd is a shell script."""

from collections.abc import Callable
from pathlib import Path

from etcdplan.hosts.processes import ProcessId, processes_with
from etcdplan.hosts.supervisor import UNIT_VARIABLE, SupervisedUnit
from etcdplan.hosts.unit_files import UnitFiles
from etcdplan.lab.create import create
from etcdplan.lab.directory import LabDirectory
from etcdplan.model.state import ETCD

MakeLab = Callable[..., LabDirectory]


def fake_programs(directory: Path) -> Path:
    """Make an etcd and a kube-apiserver that wait for signals."""
    directory.mkdir()
    for name in ("etcd", "kube-apiserver"):
        (directory / name).write_text("#!/bin/sh\nwhile :; do sleep 0.05; done\n")
        (directory / name).chmod(0o755)
    return directory


def make_lab(programs: Path, name: str = "demo", *, members: int = 3, **more: object) -> LabDirectory:
    """Make a lab with those programs."""
    return create(name, members=members, version="3.6.16", etcd_dir=programs, **more)  # type: ignore[arg-type]


def run_member(lab: LabDirectory, number: int, name: str = "", **settings: str) -> SupervisedUnit:
    """Start an etcd on the lab's host with that number, with data of its own."""
    root = lab.hosts / f"{lab.file().network}.{number}"
    files = UnitFiles(root, ETCD)
    files.write({"name": name or f"member{number}", "data-dir": "/var/lib/etcd", **settings})
    (root / "var/lib/etcd/member/wal").mkdir(parents=True, exist_ok=True)
    (root / "var/lib/etcd/member/wal/0.wal").touch()
    unit = SupervisedUnit(root, files.name)
    unit.start(files.argv())
    return unit


def processes_below(path: Path) -> list[ProcessId]:
    """Return what runs in a lab."""
    return list(processes_with(UNIT_VARIABLE, lambda value: value.startswith(f"{path}/")))
