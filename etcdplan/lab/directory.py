"""Where labs live: one directory a lab, a directory a host in it, and a loopback network of its own."""

import fcntl
import hashlib
import json
import os
import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from etcdplan.hosts.files import write_atomically
from etcdplan.lab.errors import LabError

_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?")
_NETWORKS = 63 * 256
_PROBED_HOSTS = 20
_PROBED_PORTS = (2379, 2380, 6443)


def lab_home() -> Path:
    """Return the directory of all labs of this user; it may not exist yet."""
    if own := os.environ.get("ETCDPLAN_LAB_HOME"):
        return Path(own).absolute()
    base = os.environ.get("XDG_DATA_HOME", "")
    # The XDG specification has relative paths ignored.
    return (Path(base) if base.startswith("/") else Path.home() / ".local/share") / "etcdplan/labs"


@dataclass(frozen=True, slots=True)
class LabFile:
    """What `lab.json` says. `network` is the first three numbers of the addresses.

    `etcd` has a directory of binaries for each version; `kube_apiserver` is a program, or None. `demo` marks a lab that
    nobody asked to keep: the next demonstration removes it.
    """

    name: str
    network: str
    etcd: Mapping[str, str]
    kube_apiserver: str | None
    format: int = 1
    demo: bool = False


@dataclass(frozen=True, slots=True)
class LabDirectory:
    """One lab. `path` is resolved; there may be nothing, or only half a lab."""

    path: Path

    @classmethod
    def named(cls, name: str) -> Self:
        """Return the place of the lab with that name, whether or not there is one; raise `LabError` for a bad name."""
        if not _NAME.fullmatch(name):
            raise LabError(
                f"{name!r} is not a name for a lab.",
                hint="Use lower-case letters, digits, '-' and '.', at most 63.",
            )
        return cls(lab_home().resolve() / name)

    @classmethod
    def find(cls, name: str) -> Self:
        """Return the lab with that name; raise `LabError` when there is none, or only half of one."""
        lab = cls.named(name)
        lab.file()
        return lab

    @classmethod
    def all(cls) -> list[Self]:
        """Return the labs of this user, whole or half, by name."""
        home = lab_home().resolve()
        names = sorted(entry.name for entry in home.iterdir()) if home.is_dir() else []
        return [cls(home / name) for name in names if _NAME.fullmatch(name)]

    @property
    def name(self) -> str:
        """The lab's name; its cluster has the same."""
        return self.path.name

    @property
    def hosts(self) -> Path:
        """The directory with a directory for each host, named by its address."""
        return self.path / "hosts"

    @property
    def spec(self) -> Path:
        """The spec to play with."""
        return self.path / "spec.yaml"

    @property
    def pki(self) -> Path:
        """CA and operator's certificate."""
        return self.path / "pki"

    @property
    def versions(self) -> Mapping[str, str]:
        """The version of each etcd program, by its resolved path."""
        return {
            os.path.realpath(Path(place) / "etcd"): version for version, place in self.file().etcd.items()
        }

    def host_roots(self) -> list[Path]:
        """Return the directories of the hosts that are there, in the order of their addresses."""
        roots = [entry for entry in self.hosts.iterdir() if entry.is_dir()] if self.hosts.is_dir() else []
        return sorted(roots, key=lambda root: (len(root.name), root.name))

    def file(self) -> LabFile:
        """Return what `lab.json` says; raise `LabError`."""
        try:
            content = json.loads((self.path / "lab.json").read_bytes())
            return LabFile(**content)
        except FileNotFoundError:
            others = ", ".join(lab.name for lab in self.all()) or "none"
            raise LabError(
                f"There is no lab {self.name!r} in {self.path.parent} (there: {others}).",
                hint=f"`etcdplan lab up {self.name}` makes one.",
            ) from None
        except (OSError, ValueError, TypeError) as error:
            raise LabError(
                f"{self.path}/lab.json cannot be read: {error}.",
                hint=f"`etcdplan lab down {self.name}` removes the lab.",
            ) from error

    def write_file(self, file: LabFile) -> None:
        """Write `lab.json`; raise `OSError`."""
        write_atomically(self.path / "lab.json", json.dumps(asdict(file), indent=2).encode() + b"\n")


@contextmanager
def lab_home_locked() -> Iterator[None]:
    """Keep other labs of this user from being made meanwhile; raise `OSError`."""
    home = lab_home()
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(home / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        # Held for some milliseconds only.
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def free_network(lab: LabDirectory) -> str:
    """Return a network of 127.64.0.0/10 that no other lab has: none of this user's, and none that runs.

    The search begins at a place that follows from the lab's path, so that labs of different users, too, hardly ever
    have the same one. Raises `LabError` when all are in use.
    """
    taken = set()
    for other in LabDirectory.all():
        if other != lab:
            try:
                taken.add(other.file().network)
            except LabError:
                continue
    first = int.from_bytes(hashlib.sha256(f"{os.geteuid()} {lab.path}".encode()).digest()[:4])
    for offset in range(_NETWORKS):
        number = (first + offset) % _NETWORKS
        network = f"127.{64 + number // 256}.{number % 256}"
        if network not in taken and _nobody_listens(network):
            return network
    raise LabError("No loopback network is left for a lab.", hint="`etcdplan lab down` removes labs.")


def _nobody_listens(network: str) -> bool:
    for host in range(1, _PROBED_HOSTS + 1):
        for port in _PROBED_PORTS:
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((f"{network}.{host}", port))
                except OSError:
                    return False
    return True
