"""Which bed is whose: beds of living processes are left alone, those of dead ones are removed."""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tests.bed.command import BedError, run, wait_until
from tests.bed.control_group import ControlGroup
from tests.bed.network import Network, unused_numbers

# One for the machine and not one for a user: bridges, namespaces and control groups are the machine's too.
_STATE = Path("/var/lib/etcdplan-bed")
_PROPAGATE = Path("/run/systemd/nspawn/propagate")
MOST_HOSTS = 8
HOSTS = range(1, MOST_HOSTS + 1)


def claim() -> tuple[Network, Path]:
    """Remove what dead owners left; return a network that is this process's own, and its directory."""
    with _locked():
        _remove_leftovers()
        network = Network(unused_numbers()[0])
        directory = _STATE / str(network.number)
        directory.mkdir(mode=0o700)
        (directory / "owner").write_text(_process(os.getpid()))
        # Shared: what is unmounted in it is unmounted in every mount namespace that was copied while it was
        # mounted, as those of the other hosts are. A copy would keep the disk in use.
        run("mount", "--bind", "--make-shared", directory, directory)
        network.start()
        return network, directory


def remove_leftovers() -> None:
    """Remove the beds whose owner has ended without removing them."""
    with _locked():
        _remove_leftovers()


def remove(network: Network, directory: Path) -> None:
    """Remove all that bears a bed's name: processes, control groups, namespaces, bridge, mounts, files."""
    for host in HOSTS:
        ControlGroup(network.name(host)).kill()
    network.remove(HOSTS)
    for host in HOSTS:
        ControlGroup(network.name(host)).remove()
        with contextlib.suppress(FileNotFoundError):
            (_PROPAGATE / network.name(host)).rmdir()
    for mount_point in reversed(_mounts_under(directory)):
        wait_until(f"{mount_point} can be unmounted", partial(_unmounted, mount_point))
    wait_until(f"no disk in {directory} is in use", lambda: f"{directory}/" not in run("losetup", "--list"))
    shutil.rmtree(directory)


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    _STATE.mkdir(mode=0o700, exist_ok=True)
    with (_STATE / "lock").open("w") as lock:
        wait_until("no other process makes or removes a bed", lambda: _try_lock(lock.fileno()), 60)
        yield


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _process(pid: int) -> str:
    """Return a process ID and when that process started; empty when there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    state, *fields = stat.rpartition(")")[2].split()
    return "" if state in "ZX" else f"{pid} {fields[18]}"


def _remove_leftovers() -> None:
    for directory in _STATE.iterdir():
        if directory.name.isdecimal():
            owner = directory / "owner"
            noted = owner.read_text() if owner.exists() else ""
            if not noted or _process(int(noted.split()[0])) != noted:
                remove(Network(int(directory.name)), directory)


def _mounts_under(directory: Path) -> list[str]:
    mounts = (line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines())
    return [mount_point for mount_point in mounts if f"{mount_point}/".startswith(f"{directory}/")]


def _unmounted(mount_point: str) -> bool:
    with contextlib.suppress(BedError):
        run("umount", mount_point)
    return mount_point not in _mounts_under(Path(mount_point).parent)
