"""The real command line in processes of its own, on a lab of its own."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Self
from unittest import mock

import yaml

import etcdplan
from etcdplan.cli.cluster import LiveCluster, connect, load
from etcdplan.cli.lab import make
from etcdplan.hosts.processes import processes_with, wait_until
from etcdplan.hosts.supervisor import UNIT_VARIABLE, SupervisedUnit
from etcdplan.hosts.unit_files import UnitFiles
from etcdplan.lab.binaries import etcd_binaries
from etcdplan.lab.directory import LabDirectory
from etcdplan.lab.processes import destroy
from etcdplan.lab.writers import TlsFiles, Writers
from etcdplan.model.state import ETCD, State

VERSION = "3.6.16"
_SOURCE = str(Path(etcdplan.__file__).parents[1])
_PYTHON, _PATH = sys.executable, [_SOURCE]
if not os.access(_PYTHON, os.X_OK):
    # An ordinary user in an environment of root's whose interpreter is in a home that is closed to others.
    _PYTHON = shutil.which(f"python3.{sys.version_info.minor}", path=os.defpath) or "no python"
    _PATH = [_SOURCE, *(path for path in sys.path if path.endswith("site-packages"))]


@dataclass(frozen=True)
class Done:
    """What a command left: its exit code (negative: the signal that ended it), and what it said."""

    code: int
    out: str
    err: str

    def __str__(self) -> str:
        return f"exit code {self.code}\n{self.out}\n{self.err}"


@dataclass(frozen=True)
class Command:
    """A command that was begun."""

    process: subprocess.Popen[bytes]
    said: Path

    def wait_for(self, words: str, *, timeout: float = 60) -> None:
        """Wait until it has said something on its standard error."""

        def heard() -> bool:
            return words in self.err

        assert wait_until(lambda: heard() or self.process.poll() is not None, timeout=timeout), self.err
        assert heard(), f"it ended before: {self.err}"

    def end(self, *, expect: int | None = 0, timeout: float = 150) -> Done:
        """Wait for its end, and check its exit code when there is one to expect."""
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"not done after {timeout} s: {self.process.args!r}\n{self.err}") from None
        done = Done(code, self.said.with_suffix(".out").read_text(), self.err)
        assert expect is None or done.code == expect, f"{self.process.args!r}: {done}"
        return done

    @property
    def err(self) -> str:
        """What it has said on its standard error."""
        return self.said.with_suffix(".err").read_text()


@dataclass
class Lab:
    """A lab below `directory`, with a home of labs and a runner's state of its own. Leaving removes all of it.

    The commands run as those of a user who has no other lab.
    """

    directory: Path
    name: str = "demo"
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))
    _commands: list[Command] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.home = self.directory / "labs"
        self.place = LabDirectory(self.home.resolve() / self.name)
        self.new_runner()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for command in self._commands:
            command.process.kill()
            command.process.wait(10)
        with self.at_home():
            destroy(self.place)

    @property
    def spec(self) -> Path:
        """The spec that the lab was made with."""
        return self.place.spec

    @property
    def network(self) -> str:
        """The first three numbers of the hosts' addresses."""
        return self.place.file().network

    def address(self, number: int) -> str:
        """Return the address of the host with that number; members are on 1 to 9, API servers from 11 on."""
        return f"{self.network}.{number}"

    def root(self, number: int) -> Path:
        """Return the directory of a host."""
        return self.place.hosts / self.address(number)

    def new_runner(self) -> None:
        """Go on as from another machine: with nothing of what apply wrote on this one so far."""
        self.state_home = self.directory / f"runner-{self.name}-{next(self._numbers)}"

    @contextmanager
    def at_home(self) -> Iterator[None]:
        """Let the library in this process find labs, and keep its journals, where the commands do."""
        with mock.patch.dict(os.environ, self._places()):
            yield

    def _places(self) -> dict[str, str]:
        return {"ETCDPLAN_LAB_HOME": str(self.home), "XDG_STATE_HOME": str(self.state_home)}

    def run(
        self,
        *args: str | Path,
        expect: int | None = 0,
        timeout: float = 150,
        env: Mapping[str, str] | None = None,
    ) -> Done:
        """Run `etcdplan ARGS`, and check its exit code when there is one to expect."""
        return self.start(*args, env=env).end(expect=expect, timeout=timeout)

    def start(self, *args: str | Path, env: Mapping[str, str] | None = None) -> "Command":
        """Begin `etcdplan ARGS` in a session of its own."""
        said = self.directory / f"said-{self.name}-{next(self._numbers)}"
        with said.with_suffix(".out").open("wb") as out, said.with_suffix(".err").open("wb") as err:
            process = subprocess.Popen(
                [_PYTHON, "-m", "etcdplan", *map(str, args)],
                cwd=self.directory,
                env={
                    **{
                        name: os.environ[name]
                        for name in ("PATH", "HOME", "XDG_CACHE_HOME")
                        if name in os.environ
                    },
                    "PYTHONPATH": os.pathsep.join(_PATH),
                    **self._places(),
                    **(env or {}),
                },
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        self._commands.append(Command(process, said))
        return self._commands[-1]

    def up(self, members: int = 3, *, version: str = VERSION, options: tuple[str, ...] = ()) -> Done:
        """Bring the lab up with `lab up`."""
        return self.run(
            "lab", "up", self.name, "--members", f"{members}", "--etcd-version", version, *options
        )

    def make(self, members: int = 3, *, version: str = VERSION, **more: Any) -> None:
        """Make the lab's directories only; nothing runs in it, and nothing was applied."""
        with self.at_home():
            make(self.name, members, version, None, **more)

    def variant(
        self,
        *,
        members: Mapping[str, int] | None = None,
        etcd: Mapping[str, object] | None = None,
        api_servers: Mapping[str, object] | None = None,
        of: Path | None = None,
    ) -> Path:
        """Write another spec beside the lab's and return it. `members` has host numbers by name; the rest is merged."""
        document = yaml.safe_load((of or self.spec).read_text())
        spec = document["spec"]
        if members is not None:
            spec["members"] = [
                {"name": name, "host": self.address(number)} for name, number in members.items()
            ]
        spec["etcd"].update(etcd or {})
        if api_servers is not None:
            spec["apiServers"].update(api_servers)
        path = self.place.path / f"spec-{next(self._numbers)}.yaml"
        path.write_text(yaml.safe_dump(document, sort_keys=False))
        return path

    def break_(self, member: str, how: str = "disk") -> None:
        """Break a member."""
        self.run("lab", "break", member, "--lab", self.name, "--how", how)

    def apply(self, spec: Path | None = None, *, expect: int | None = 0, **more: Any) -> Done:
        """Plan and apply a spec without asking."""
        return self.run("apply", spec or self.spec, "--auto-approve", expect=expect, **more)

    def resume(self, spec: Path | None = None, *, expect: int | None = 0, **more: Any) -> Done:
        """Finish an unfinished run from a machine that knows nothing of it."""
        self.new_runner()
        return self.run("apply", "--resume", spec or self.spec, expect=expect, **more)

    def settled(self, spec: Path | None = None) -> None:
        """Check that nothing is left to do: a plan says so, and another apply makes no step and no effect."""
        spec = spec or self.spec
        plan = self.run("plan", spec, "--detailed-exitcode")
        assert "No changes." in plan.out, plan
        before = self.effects()
        done = self.apply(spec)
        assert "[1/" not in done.err, done
        assert self.effects() == before

    def effects(self) -> dict[str, str]:
        """Return what every effect on every host noted of itself, by host and effect."""
        notes = self.place.hosts.glob("*/var/lib/etcdplan/effects/*")
        return {str(note.relative_to(self.place.hosts)): note.read_text() for note in notes}

    @contextmanager
    def live(self, spec: Path | None = None) -> Iterator[LiveCluster]:
        """Reach the cluster from this process."""
        with self.at_home(), connect(load(spec or self.spec), []) as live:
            yield live

    def observe(self, spec: Path | None = None) -> State:
        """Look at everything once, as `etcdplan observe` does."""
        with self.live(spec) as live:
            return live.observe()

    def leader(self) -> str:
        """Return the name of the member that leads."""
        found: list[str] = []

        def led() -> bool:
            state = self.observe()
            members = state.membership.get()
            if members is not None and state.leader is not None:
                found.append(members.members[state.leader].name)
            return bool(found)

        assert wait_until(led, timeout=20)
        return found[0]

    def unit(self, number: int) -> SupervisedUnit:
        """Return the etcd of a host."""
        return SupervisedUnit(self.root(number).resolve(), ETCD)

    def start_by_hand(self, number: int) -> None:
        """Start the etcd of a host as an operator would who knows of no plan."""
        self.unit(number).start(UnitFiles(self.root(number).resolve(), ETCD).argv())

    def pids(self) -> dict[str, int]:
        """Return the etcds that run, by host."""
        found = {root.name: SupervisedUnit(root, ETCD).process() for root in self.place.host_roots()}
        return {host: process.pid for host, process in found.items() if process is not None}

    def processes(self) -> list[int]:
        """Return everything that runs in the lab, supervisors too."""
        return [
            process.pid
            for process in processes_with(UNIT_VARIABLE, lambda at: at.startswith(f"{self.home.resolve()}/"))
        ]

    def etcdctl(self, *args: str, host: int = 1, version: str = VERSION) -> subprocess.CompletedProcess[str]:
        """Run etcdctl as somebody would who knows of no etcdplan, through the member on a host."""
        pki = self.place.pki
        trust = [f"--cacert={pki}/etcd-ca.crt", f"--cert={pki}/operator.crt", f"--key={pki}/operator.key"]
        endpoint = f"--endpoints=https://{self.address(host)}:2379"
        return subprocess.run(
            [etcd_binaries(version) / "etcdctl", endpoint, *trust, *args],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    def writers(self, *hosts: int, writers: int = 3) -> Writers:
        """Return writers that know the members on these hosts."""
        pki = self.place.pki
        files = TlsFiles(pki / "etcd-ca.crt", pki / "operator.crt", pki / "operator.key")
        plain = not pki.is_dir()
        scheme = "http" if plain else "https"
        return Writers(
            [f"{scheme}://{self.address(host)}:2379" for host in hosts],
            tls=None if plain else files,
            writers=writers,
        )


def killed(done: Done) -> bool:
    """Whether a command was ended by SIGKILL."""
    return done.code == -signal.SIGKILL
