"""A `Shell` that runs scripts on this machine, by its real /bin/sh, below a directory that stands for a host's root."""

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from etcdplan.hosts.ports import HostOutcomeUnknown, HostUnreachable
from etcdplan.hosts.shell import DEFAULT_LIMIT, Completed, Stream

_SYSTEMCTL = f"""#!/bin/sh
exec {sys.executable} -S {Path(__file__).with_name("fake_systemctl.py")} ROOT "$@"
"""

SSHD = 'printf sshd >/proc/$$/comm; sh -c "$@"; exit $?'
"""What starts a script as a process of this name does, which carries its session."""


class LocalShell:
    """Implements `Shell`. `lose` lets the connection break behind a script's end, `drop` before it starts.

    `shims` is a directory of programs that come before all others; `systemctl` is a fake one that has real processes.
    `started` has every process that was begun, `greeting` is what a login shell prints before the script.
    """

    def __init__(self, root: Path, address: str = "10.0.0.1") -> None:
        self.address = address
        self.root = root
        self.shims = root.parent / f"{root.name}.shims"
        self.shims.mkdir()
        self.shim("systemctl", _SYSTEMCTL.replace("ROOT", str(root)))
        self.verbs: list[str] = []
        self.started: list[subprocess.Popen[bytes]] = []
        self.greeting = b""
        self.lose: Callable[[str], bool] = lambda _: False
        self.drop: Callable[[str], bool] = lambda _: False
        self._lock = threading.Lock()

    def shim(self, name: str, text: str) -> None:
        """Put a program before the real one."""
        path = self.shims / name
        path.write_text(text)
        path.chmod(0o755)

    def begin(self, script: str, *arguments: str, stdin: bytes) -> subprocess.Popen[bytes]:
        """Start a script and do not wait for it."""
        first, _, rest = script.partition("\nroot=\n")
        script = f"{first}\nroot={self.root}\n{rest}"
        process = subprocess.Popen(
            ["/bin/sh", "-c", SSHD, "sshd", script, "etcdplan", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd="/",
            env={"PATH": f"{self.shims}:{os.environ['PATH']}", "LANG": "C"},
            start_new_session=True,
        )
        with self._lock:
            self.started.append(process)
        return process

    def run(
        self,
        script: str,
        *arguments: str,
        stdin: bytes | Stream = b"",
        timeout: float,
        limit: int = DEFAULT_LIMIT,
    ) -> Completed:
        """Run a script."""
        verb = arguments[1]
        stdin = stdin if isinstance(stdin, bytes) else b"".join(stdin.chunks())
        self.verbs.append(verb)
        if self.drop(verb):
            raise HostUnreachable(f"Host {self.address} does not answer.")
        process = self.begin(script, *arguments, stdin=stdin)
        try:
            out, err = process.communicate(stdin, timeout=timeout)
        except subprocess.TimeoutExpired:
            raise HostOutcomeUnknown(f"Host {self.address} took too long.") from None
        if self.lose(verb) or len(out) > limit:
            raise HostOutcomeUnknown(f"The connection to {self.address} broke.")
        return Completed(process.returncode, self.greeting + out, err.decode(errors="replace"))

    def power_cut(self, process: subprocess.Popen[bytes], delay: float) -> threading.Timer:
        """Kill a script, and all that it has started, after some seconds."""

        def kill() -> None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 9)

        timer = threading.Timer(delay, kill)
        timer.start()
        return timer

    def close(self) -> None:
        """End what still runs, and the programs of the fake service manager."""
        for process in self.started:
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, 9)
                process.wait()
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)

    def pids(self) -> Iterator[int]:
        """Yield the programs that the fake service manager runs."""
        for mark in (self.root / "fake").glob("*.pid"):
            pid, start = mark.read_text().split()
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                if stat[19] == start and stat[0] not in "ZX":
                    yield int(pid)
