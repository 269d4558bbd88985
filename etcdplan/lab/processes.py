"""What runs in a lab: seen, broken on purpose, and ended for good."""

import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

from etcdplan.hosts.processes import ProcessId, processes_with, wait_until
from etcdplan.hosts.supervisor import UNIT_VARIABLE, SupervisedUnit
from etcdplan.hosts.unit_files import UnitFiles, api_servers
from etcdplan.lab.directory import LabDirectory
from etcdplan.lab.errors import LabError
from etcdplan.model.state import ETCD, api_server_unit

How = Literal["disk", "kill", "hang", "host"]
"""Ways to break a member: its process killed and its data gone; only killed; stopped (SIGSTOP); the whole host gone."""

_DIE = 10.0


@dataclass(frozen=True, slots=True)
class LabProcess:
    """A unit of a lab. `state` is `running`, `hung`, `down`, `held` or `failing`; `pid` and `version` may be empty."""

    host: str
    unit: str
    name: str
    state: str
    pid: int | None
    version: str


def status(lab: LabDirectory) -> list[LabProcess]:
    """Return every etcd and API server that a lab, whole or half, has ever been asked to run."""
    try:
        versions = lab.versions
    except LabError:
        versions = {}
    found = []
    for root in lab.host_roots():
        for unit in [ETCD, *map(api_server_unit, api_servers(root))]:
            files = UnitFiles(root, unit)
            supervised = SupervisedUnit(root, files.name)
            process = supervised.process()
            name = _name_of(files)
            if name is None and process is None:
                continue
            found.append(
                LabProcess(
                    root.name,
                    unit,
                    name or "",
                    _state(supervised, process),
                    process.pid if process else None,
                    versions.get(process.program(), "") if process else "",
                )
            )
    return found


def break_member(lab: LabDirectory, name: str, how: How = "disk") -> str:
    """Break the member with that name, and say what was done; raise `LabError`."""
    if how not in get_args(How):
        raise LabError(
            f"A member cannot be broken by {how!r}.", hint=f"Use one of {', '.join(get_args(How))}."
        )
    files = _files_of_member(lab, name)
    root = files.root
    unit = SupervisedUnit(root, files.name)
    process = unit.process()
    if how == "hang":
        if process is None:
            raise LabError(f"{name} on {root.name} does not run.")
        process.send(signal.SIGSTOP)
        wait_until(process.is_stopped, timeout=_DIE)
        return f"stopped etcd of {name} on {root.name} (SIGSTOP, process {process.pid}): it hangs"
    if how == "host":
        _kill_all(lambda value: value.startswith(f"{root}/"))
        grave = lab.path / "gone"
        grave.mkdir(mode=0o700, exist_ok=True)
        number = sum(1 for _ in grave.iterdir()) + 1
        root.rename(grave / f"{root.name}-{number}")
        return f"took the whole host {root.name} of {name} away; it is in {grave} now"
    _kill_all(lambda value: value == str(unit.marker_prefix))
    killed = f"killed etcd of {name} on {root.name} (SIGKILL, process {process.pid if process else 'none'})"
    if how == "kill":
        return killed
    data, log = files.data_dirs("/var/lib/etcd")
    for directory in filter(None, (data, log)):
        # Flags may have been edited by hand, and lead elsewhere.
        if not directory.resolve().is_relative_to(root) or directory.resolve() == root:
            raise LabError(f"{directory} is not below the host's directory, so it is left alone.")
        if directory.exists():
            shutil.rmtree(directory)
    return f"{killed} and removed its data"


def end_processes(lab: LabDirectory) -> int:
    """Kill everything that runs in a lab, whole or half; return how many processes there were."""
    return _kill_all(lambda value: value.startswith(f"{lab.hosts}/"))


def destroy(lab: LabDirectory) -> bool:
    """End everything that runs in a lab and remove it, whole or half; return whether there was anything.

    Raises `LabError` when something is left.
    """
    if lab.path.is_symlink():
        raise LabError(f"{lab.path} is a link and no lab; it is left alone.")
    ended = end_processes(lab)
    try:
        # rmtree follows no links.
        shutil.rmtree(lab.path)
    except FileNotFoundError:
        return ended > 0
    except OSError as error:
        raise LabError(f"{lab.path} cannot be removed: {error}.") from error
    return True


def _kill_all(ours: Callable[[str], bool]) -> int:
    seen: set[ProcessId] = set()

    def killed() -> bool:
        # Again and again: a supervisor may be starting its program just now.
        living = list(processes_with(UNIT_VARIABLE, ours))
        for process in living:
            process.send(signal.SIGKILL)
        seen.update(living)
        return not living

    if not wait_until(killed, timeout=_DIE):
        raise LabError("Some processes of the lab do not end, not even on SIGKILL.")
    return len(seen)


def _files_of_member(lab: LabDirectory, name: str) -> UnitFiles:
    """Return the etcd with that member name: the one that runs, else one that is not held, else any."""
    named = [files for root in lab.host_roots() if _name_of(files := UnitFiles(root, ETCD)) == name]
    if not named:
        known = sorted(filter(None, (_name_of(UnitFiles(root, ETCD)) for root in lab.host_roots())))
        raise LabError(
            f"No host of the lab {lab.name!r} has an etcd named {name!r}.",
            hint=f"There are {', '.join(known)}."
            if known
            else f"Make the cluster first: etcdplan apply {lab.spec}",
        )

    def preference(files: UnitFiles) -> tuple[bool, bool]:
        unit = SupervisedUnit(files.root, files.name)
        return unit.process() is not None, not unit.held

    return max(named, key=preference)


def _name_of(files: UnitFiles) -> str | None:
    """Return the name in a unit's settings; None without settings."""
    try:
        settings = files.settings()
    except ValueError:
        return ""
    if settings is None:
        return None
    return settings.get("name", "") if files.is_etcd else files.unit.partition("/")[2]


def _state(unit: SupervisedUnit, process: ProcessId | None) -> str:
    if process is not None:
        return "hung" if process.is_stopped() else "running"
    if unit.held:
        return "held"
    return "failing" if unit.failing else "down"
