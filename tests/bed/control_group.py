"""A control group for each host: without one, hosts would find each other's services in their own groups.

It is also the exact list of a host's processes, which the kernel ends in one go.
"""

from dataclasses import dataclass
from pathlib import Path

from tests.bed.command import BedError, wait_until

_MOUNT = Path("/sys/fs/cgroup")


def _unified() -> Path:
    for path in (_MOUNT, _MOUNT / "unified"):
        if (path / "cgroup.procs").exists() and (path / "cgroup.controllers").exists():
            return path
    raise BedError(f"The test bed needs control groups of version 2 at {_MOUNT} or {_MOUNT}/unified.")


def _hierarchies() -> list[Path]:
    """The unified hierarchy and, where this machine still has it, systemd's own of version 1."""
    return [_unified(), *(path for path in (_MOUNT / "systemd",) if (path / "cgroup.procs").exists())]


@dataclass(frozen=True)
class ControlGroup:
    name: str

    def create(self) -> list[Path]:
        """Make the group; return the files into which a process writes its ID to be in it."""
        groups = [hierarchy / self.name for hierarchy in _hierarchies()]
        for group in groups:
            group.mkdir(exist_ok=True)
        return [group / "cgroup.procs" for group in groups]

    def kill(self) -> None:
        """SIGKILL to all of its processes at once; return when none is left."""
        group = _unified() / self.name
        if group.exists():
            (group / "cgroup.kill").write_text("1")
            wait_until(
                f"the processes of {self.name} have ended",
                lambda: "populated 0" in (group / "cgroup.events").read_text().splitlines(),
            )

    def remove(self) -> None:
        groups = [hierarchy / self.name for hierarchy in _hierarchies()]
        wait_until(f"the groups {self.name} can be removed", lambda: all(_removed(group) for group in groups))


def _removed(group: Path) -> bool:
    try:
        for directory in sorted(group.rglob("*/"), reverse=True):
            directory.rmdir()
        group.rmdir()
    except OSError:
        # Such as a process that has ended and that nobody has waited for yet.
        return not group.exists()
    return True
