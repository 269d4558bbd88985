"""The user's cache of binaries: one build at a time an entry, and never half an entry."""

import contextlib
import errno
import fcntl
import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from etcdplan.lab.errors import LabError

Report = Callable[[str], None]
"""Takes one line of progress, without a line feed."""

DEADLINE = 20 * 60.0
HEARTBEAT = 10.0
_LOG_TAIL = 15

_ROOM = "point XDG_CACHE_HOME at a directory that you can write and that has room"
# The first that matches the end of a log counts: apt reports a full disk as a failed download too.
_REMEDIES = (
    ("no space left on device", f"free some disk space, or {_ROOM}"),
    (
        "dial tcp|no such host|proxyconnect|i/o timeout|TLS handshake|could not (resolve|connect)"
        "|(unable|failed) to fetch|connection (refused|reset)|network is unreachable",
        "check the network: the sources are downloaded (Go honours GOPROXY, apt its own proxy settings)",
    ),
    (
        "unable to locate package|was not found",
        "`sudo apt-get update`, on a Debian release that has this version",
    ),
)


def cache_dir() -> Path:
    """Return etcdplan's directory in the user's cache (XDG base directories); it may not exist yet.

    Raises `LabError` for a user without a home.
    """
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification has relative paths ignored.
    try:
        return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "etcdplan"
    except RuntimeError as error:
        raise LabError("This user has no home directory to keep binaries in.", hint=_ROOM) from error


def version_problem(binary: Path, argument: str, version: str) -> str:
    """Say why `binary argument` does not report exactly `version`; empty when it does."""
    try:
        if not binary.is_file():
            return f"there is no {binary}"
        run = subprocess.run(
            [binary, argument],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=30,
            check=False,
            env={**os.environ, "ETCDCTL_API": "3"},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{binary} does not run: {error}"
    output = (run.stdout + run.stderr).decode(errors="replace")
    found = re.search(r"\bv?(\d+\.\d+\.\d+\S*)", output)
    if run.returncode != 0 or found is None:
        return f"`{binary} {argument}` does not tell its version (exit status {run.returncode})"
    return "" if found[1] == version else f"{binary} is version {found[1]}, not {version}"


@dataclass(frozen=True)
class CacheEntry:
    """A directory of binaries in the cache, which is there whole or not at all.

    `problem` says what is wrong with such a directory, or nothing; `otherwise` is what a user can do when it
    cannot be built.
    """

    path: Path
    title: str
    problem: Callable[[Path], str]
    otherwise: str
    report: Report

    @property
    def log(self) -> Path:
        return self.path.with_name(f"{self.path.name}.log")

    def built_by(self, fill: Callable[["Build"], None]) -> Path:
        """Return the entry's path; first let `fill` build it if it has a problem.

        Processes that want the same entry wait for each other. Raises `LabError`.
        """
        if not self.problem(self.path):
            return self.path
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with _locked(self) as lock:
                if self.problem(self.path):
                    self._build(fill, lock)
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            reason = "the disk is full" if full else error.strerror or str(error)
            raise LabError(
                f"Cannot keep {self.title} in {self.path.parent}: {reason}.",
                hint=f"{_ROOM}; or {self.otherwise}",
            ) from error
        return self.path

    def _build(self, fill: Callable[["Build"], None], lock: int) -> None:
        prefix = f".{self.path.name}.build-"
        for left_by_a_killed_build in self.path.parent.glob(f"{prefix}*"):
            shutil.rmtree(left_by_a_killed_build)
        scratch = Path(tempfile.mkdtemp(prefix=prefix, dir=self.path.parent))
        try:
            self.log.unlink(missing_ok=True)
            self.log.touch(mode=0o600)
            started = time.monotonic()
            build = Build(self, scratch, lock)
            build.output.mkdir()
            fill(build)
            if wrong := self.problem(build.output):
                raise build.failure(f"ended, but {wrong}")
            if os.path.lexists(self.path):
                self.path.rename(scratch / "replaced")
            build.output.rename(self.path)
            self.report(f"{self.title} is ready in {self.path} [{time.monotonic() - started:.0f}s elapsed]")
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


@dataclass(frozen=True)
class Build:
    """A build in progress: what it leaves in `output` becomes the entry, the rest of `scratch` is removed."""

    entry: CacheEntry
    scratch: Path
    lock: int

    @property
    def output(self) -> Path:
        return self.scratch / "bin"

    def run(self, argv: Sequence[str | Path], *, cwd: Path, env: Mapping[str, str]) -> None:
        """Run a command to its end, its output in the log and its progress reported.

        Raises `LabError`, with the log's last lines, when it fails or passes the deadline.
        """
        started = time.monotonic()
        with self.entry.log.open("ab") as sink:
            sink.write(f"$ {shlex.join(map(str, argv))}\n".encode())
            sink.flush()
            try:
                process = subprocess.Popen(
                    argv,
                    cwd=cwd,
                    env=env,
                    stdin=subprocess.DEVNULL,
                    stdout=sink,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    # Inherited: a command that outlives a killed etcdplan still keeps the next build out.
                    pass_fds=[self.lock],
                )
            except OSError as error:
                raise LabError(
                    f"Cannot run {argv[0]}: {error.strerror}.", hint=self.entry.otherwise
                ) from error
        try:
            while process.poll() is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(HEARTBEAT)
                    break
                elapsed = time.monotonic() - started
                if elapsed >= DEADLINE:
                    raise self.failure(f"was not done after {elapsed:.0f} s")
                self.entry.report(f"still building {self.entry.title} [{elapsed:.0f}s elapsed]")
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if process.returncode != 0:
            raise self.failure(f"failed with exit status {process.returncode}")

    def failure(self, what: str) -> LabError:
        """Return the error to raise, with the end of the log and the remedies that fit it."""
        lines = self.entry.log.read_text(errors="replace").splitlines()[-_LOG_TAIL:]
        end = "\n".join(lines)
        remedies = [remedy for pattern, remedy in _REMEDIES if re.search(pattern, end, re.IGNORECASE)][:1]
        tail = "".join(f"\n  {line}" for line in lines)
        return LabError(
            f"Building {self.entry.title} {what}. Log: {self.entry.log}{tail}",
            hint="; or ".join([*remedies, self.entry.otherwise]),
        )


@contextlib.contextmanager
def _locked(entry: CacheEntry) -> Iterator[int]:
    path = entry.path.with_name(f"{entry.path.name}.lock")
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        started = time.monotonic()
        next_report = started
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                now = time.monotonic()
                elapsed = f"{now - started:.0f}"
                if now - started >= DEADLINE:
                    raise LabError(
                        f"Another process has been building {entry.title} for {elapsed} s; it holds {path}.",
                        hint=f"`fuser {path}` names it",
                    ) from None
                if now >= next_report:
                    entry.report(
                        f"waiting for another process that builds {entry.title} [{elapsed}s elapsed]"
                    )
                    next_report = now + HEARTBEAT
                time.sleep(0.1)
        yield descriptor
    finally:
        os.close(descriptor)
