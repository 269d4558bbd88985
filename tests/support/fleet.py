"""A fleet: hosts of the test bed with a spec about them, and etcdplan as a user calls it from outside."""

import hashlib
import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Self

from etcdplan.hosts.processes import wait_until
from etcdplan.lab.binaries import etcd_binaries
from tests.bed import DEPLOY, Bed
from tests.bed.host import Host

VERSION = "3.6.16"


@dataclass
class Done:
    """What became of a command."""

    code: int
    out: str
    err: str

    def __str__(self) -> str:
        return f"exit code {self.code}\n{self.out}\n{self.err}"


@dataclass
class Fleet:
    """Bare hosts with etcd's binary and its user, and a runner that knows their keys."""

    bed: Bed
    directory: Path
    user: str = DEPLOY
    runners: int = 0
    environment: dict[str, str] = field(default_factory=dict)
    command: tuple[str, ...] = (sys.executable, "-m", "etcdplan")

    @classmethod
    @contextmanager
    def up(
        cls,
        directory: Path,
        hosts: int,
        *,
        version: str = VERSION,
        etcd: bool = True,
        debian: int = 0,
        over: Sequence[Path] = (),
    ) -> Iterator[Self]:
        """Start hosts, those with Debian's package last, and make a CA; without `etcd` bare ones have nothing of it.

        `over` are layers over all of them.
        """
        with Bed(bare=hosts, debian=debian, over=over) as bed:
            for host in bed.hosts[:hosts] if etcd else ():
                host.put("/usr/local/bin/etcd", etcd_binaries(version) / "etcd", 0o755)
                # As a package manager does it: a power cut soon after would leave an empty program.
                host.exec("sync", "-f", "/usr/local/bin/etcd")
                host.exec("useradd", "--system", "etcd")
            fleet = cls(bed, directory)
            fleet.run("pki", "init", "--plain")
            yield fleet

    def logs(self) -> str:
        """Return what etcd said on each host that runs."""
        tail = ("journalctl", "--no-pager", "--lines=40", "--unit=etcd")
        running = (host for host in self.bed.hosts if host.running)
        return "".join(f"--- {host.address}\n{host.exec(*tail, check=False).stdout}" for host in running)

    def host(self, number: int) -> Host:
        """Return a host."""
        return self.bed.host(number)

    @property
    def spec(self) -> Path:
        """Where the spec is."""
        return self.directory / "prod.yaml"

    def write_spec(self, members: Iterable[int], *, version: str = VERSION, **etcd: str) -> None:
        """Let the spec name these hosts; member N lives on host N."""
        lines = "".join(f"    - {{name: member{n}, host: {self.host(n).address}}}\n" for n in members)
        settings = "".join(f", {key}: {value}" for key, value in etcd.items())
        self.spec.write_text(
            "apiVersion: etcdplan/v1\nkind: EtcdCluster\nmetadata: {name: prod}\nspec:\n"
            f"  etcd: {{version: {version}{settings}}}\n"
            f"  access: {{ssh: {{user: {self.user}}}}}\n  members:\n{lines}"
            "  tls:\n    ca: {certificate: pki/etcd-ca.crt, key: pki/etcd-ca.key}\n"
            "    operator: {certificate: pki/operator.crt, key: pki/operator.key}\n"
        )

    def archive(self, version: str = VERSION, **more: bytes) -> str:
        """Make an archive as etcd's releases are, and return what the spec says of it."""
        name = f"etcd-v{version}-linux-amd64"
        file = self.directory / f"{name}.tar.gz"
        with tarfile.open(file, "w:gz", compresslevel=1) as tar:
            for program in ("etcd", "etcdctl", "etcdutl"):
                if program not in more and (path := etcd_binaries(version) / program).exists():
                    tar.add(path, f"{name}/{program}")
            for program, content in more.items():
                member = tarfile.TarInfo(f"{name}/{program}")
                member.size = len(content)
                tar.addfile(member, BytesIO(content))
        return f"{{archive: {file.name}, sha256: {hashlib.sha256(file.read_bytes()).hexdigest()}}}"

    def run(self, *arguments: str | Path, expect: int | None = 0, **environment: str) -> Done:
        """Run etcdplan to its end."""
        process = self.start(*arguments, **environment)
        out, err = process.communicate(timeout=240)
        done = Done(process.returncode, out, err)
        assert expect is None or done.code == expect, done
        return done

    def start(self, *arguments: str | Path, **environment: str) -> subprocess.Popen[str]:
        """Start etcdplan as the runner that there is now."""
        return subprocess.Popen(
            [*self.command, *map(str, arguments)],
            cwd=self.directory,
            env=self.environ(**environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def environ(self, **more: str) -> dict[str, str]:
        """Return the environment of the runner that there is now."""
        config = self.directory / "ssh_config"
        config.write_text(f"Host *\n  IdentityFile {self.bed.identity}\n  IdentitiesOnly yes\n")
        return {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "HOME": str(self.directory),
            "XDG_STATE_HOME": str(self.directory / f"runner{self.runners}"),
            "ETCDPLAN_SSH_CONFIG": str(config),
            "ETCDPLAN_KNOWN_HOSTS": str(self.bed.known_hosts),
            **self.environment,
            **more,
        }

    def apply(self, *, expect: int | None = 0, **environment: str) -> Done:
        """Plan and apply."""
        return self.run("apply", self.spec, "--auto-approve", expect=expect, **environment)

    def resume(self, *, expect: int | None = 0) -> Done:
        """Go on from another machine, which has only the spec, the keys and known_hosts."""
        self.runners += 1
        return self.run("apply", "--resume", self.spec, expect=expect)

    def plan(self, *, expect: int | None = 0) -> str:
        """Return what a plan says, on one line."""
        return " ".join(self.run("plan", self.spec, expect=expect).out.replace("│", " ").split())

    def await_status(self, words: str, *, timeout: float = 60) -> None:
        """Wait until `status` says this: after a leader is gone nobody serves for a moment."""
        said: list[Done] = []

        def says() -> bool:
            said.append(self.run("status", self.spec, expect=None))
            return words in said[-1].out

        assert wait_until(says, timeout=timeout), said[-1]

    def settled(self, members: int) -> None:
        """Check that nothing is left to do, and that all members serve."""
        assert "No changes" in self.plan()
        serve = "voter serves" if members == 1 else "voters serve"
        assert f"{members} of {members} {serve}" in self.run("status", self.spec).out


def killed(done: Done) -> bool:
    """Whether a command died of SIGKILL."""
    return done.code == -signal.SIGKILL
