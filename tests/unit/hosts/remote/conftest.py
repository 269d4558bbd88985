"""A host that is a directory, with a real shell, and a fake service manager that has real processes."""

import getpass
import itertools
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from etcdplan.apply.holder import Holder
from etcdplan.apply.lock_file import LockRecord
from etcdplan.errors import EtcdplanError
from etcdplan.hosts.ports import Claim, EtcdReport
from etcdplan.hosts.remote.host import RemoteHost
from etcdplan.hosts.remote.layout import Layout
from etcdplan.model.facts import ABSENT, Fact
from etcdplan.model.machine import Figures
from tests.support.local_shell import LocalShell

TOKEN = 3
SETTINGS = {"name": "a", "data-dir": "/var/lib/etcd", "listen-client-urls": "http://127.7.7.7:2379"}


@dataclass
class Members:
    """Stands for the etcds that are reached; notes what is called."""

    called: list[tuple[Any, ...]] = field(default_factory=list)
    error: EtcdplanError | None = None
    during: Callable[[], object] = lambda: None

    def ask(self, client_url: str, *, timeout: float) -> EtcdReport | None:
        return None

    def measure(self, client_url: str, *, timeout: float) -> Fact[Figures]:
        return ABSENT

    def at(self, client_url: str) -> Any:
        return self

    def _call(self, *call: Any) -> None:
        self.called.append(call)
        self.during()
        if self.error is not None:
            raise self.error

    def member_add(self, peer_url: str, *, learner: bool, timeout: float) -> None:
        self._call("add", peer_url, learner)

    def member_promote(self, member_id: int, *, timeout: float) -> None:
        self._call("promote", member_id)

    def member_remove(self, member_id: int, *, timeout: float) -> None:
        self._call("remove", member_id)

    def move_leader(self, member_id: int, *, timeout: float) -> None:
        self._call("move", member_id)


class Bench:
    """One host and the hands to test it."""

    def __init__(self, tmp_path: Path) -> None:
        self.root = tmp_path / "root"
        for directory in ("etc", "var/lib", "run", "usr/local/bin", "proc/net"):
            (self.root / directory).mkdir(parents=True)
        self.file("usr/local/bin/etcd", "").chmod(0o755)
        self.file("usr/local/bin/kube-apiserver", "").chmod(0o755)
        self.shell = LocalShell(self.root)
        self.members = Members()
        self.host = RemoteHost(self.shell, self.members, Layout(user=getpass.getuser()))
        self._numbers = itertools.count(1)
        self.lock(TOKEN)

    def file(self, path: str, text: str) -> Path:
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def lock(self, token: int, *, held: bool = True) -> None:
        """Put a lock on the host, as the lock's code writes it."""
        holder = Holder("id", "runner", "user", 1, 2, "boot", "ns", 'apply "token": 9')
        self.host.store.write("lock.json", LockRecord(1, token, held, holder, "t", 0, "t").encode())

    def claim(self, token: int = TOKEN) -> Claim:
        return Claim(token, f"{TOKEN:08d}-run/{next(self._numbers)}")

    def notes(self) -> list[list[dict[str, Any]]]:
        """Return what is noted of each effect, in the order of their IDs."""
        files = sorted((self.root / "var/lib/etcdplan/effects").iterdir())
        return [[json.loads(line) for line in file.read_text().splitlines()] for file in files]

    def log(self) -> list[str]:
        """Return what systemd was asked to change."""
        lines = (self.root / "fake/log").read_text().splitlines()
        return [line for line in lines if not line.startswith("show")]

    def mode(self, unit: str, mode: str) -> None:
        self.file(f"fake/{unit}.mode", mode)

    def etcd(self) -> Any:
        return self.host.inspect(timeout=10).etcd

    def snapshot(self) -> dict[str, tuple[int, bytes]]:
        """Return all files with modes and contents, but the fake service manager's own."""
        return {
            str(path.relative_to(self.root)): (
                path.lstat().st_mode,
                path.read_bytes() if path.is_file() else b"",
            )
            for path in sorted(self.root.rglob("*"))
            if path.relative_to(self.root).parts[0] not in ("fake", "proc")
        }

    def in_thread(self, act: Callable[[], object]) -> "Running":
        return Running(act)


class Running:
    """Something that goes on beside the test."""

    def __init__(self, act: Callable[[], object]) -> None:
        self.error: BaseException | None = None
        self._act = act
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._act()
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            self.error = error

    def done(self) -> None:
        """Wait for its end, and raise what it raised."""
        self._thread.join(timeout=60)
        assert not self._thread.is_alive()
        if self.error is not None:
            raise self.error

    @property
    def running(self) -> bool:
        return self._thread.is_alive()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A host on which the lock has `TOKEN`."""
    bench = Bench(tmp_path)
    yield bench
    bench.shell.close()
