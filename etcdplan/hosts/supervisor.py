"""One supervised process of a host that is a directory: runtime `process`.

A detached shell runs the program, notes it in a pid file, and starts it again when it fails. All processes of a unit
carry its name in their environment: that is how they are found when the pid file was never written.
"""

import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from etcdplan.hosts.files import make_directory, replacing
from etcdplan.hosts.ports import HostRefused
from etcdplan.hosts.processes import ProcessId, boot_id, processes_with, wait_until

UNIT_VARIABLE = "ETCDPLAN_UNIT"
"""The environment variable with the path of a unit's files, without their endings."""

GRACE = 15.0
"""How long a program may take to end after SIGTERM."""

_APPEAR = 10.0
_BECOME = 1.0
_LOOKS = 5
_DIE = 10.0
_LOG_LIMIT = 8 << 20
_NAME = "etcdplan-supervisor"

# A program that fails (exit status other than 0) is started again after a second, three times in a row at most;
# having run for more than ten seconds wipes the slate clean. A signal ends it, so that a killed program stays down.
# The shell's own little helpers are not processes of the unit. A program that is gone already, and its number perhaps
# another process's, is noted with a start of 0, which is nobody's.
_SCRIPT = """
run=$1; shift
read -r boot </proc/sys/kernel/random/boot_id
start_of() {
    start=0
    read -r stat <"/proc/$1/stat" || return
    set -f; set -- ${stat##*")"}
    if [ "$2" = $$ ]; then start=${20}; fi
} 2>/dev/null
failures=0
while :; do
    read -r begun rest </proc/uptime
    "$@" &
    pid=$!
    start_of "$pid"
    if ! { echo "$pid $start $boot" >"$run.pid.new" && ETCDPLAN_UNIT= mv -f "$run.pid.new" "$run.pid"; }; then
        kill -9 "$pid"
        exit 1
    fi
    wait "$pid"
    status=$?
    read -r ended rest </proc/uptime
    echo "etcdplan: the program ended with status $status"
    if [ "$status" -eq 0 ] || [ "$status" -gt 128 ]; then exit; fi
    if [ $((${ended%.*} - ${begun%.*})) -gt 10 ]; then failures=0; fi
    failures=$((failures + 1))
    if [ "$failures" -ge 3 ]; then
        : >"$run.failed"
        exit
    fi
    ETCDPLAN_UNIT= sleep 1
done
"""


@dataclass(frozen=True, slots=True)
class SupervisedUnit:
    """A process and its supervisor. `root` is the resolved root directory of the host, `name` a plain file name."""

    root: Path
    name: str

    @property
    def marker_prefix(self) -> Path:
        """The unit's name in the environment of its processes: the path of its files without their endings."""
        return self.root / "run/etcdplan" / self.name

    @property
    def log(self) -> Path:
        """Where the program's output goes."""
        return self.root / "var/log" / f"{self.name}.log"

    def _marker(self, ending: str) -> Path:
        return self.marker_prefix.with_name(f"{self.name}.{ending}")

    @property
    def held(self) -> bool:
        """Whether it is kept from starting."""
        return self._marker("held").exists()

    @property
    def failing(self) -> bool:
        """Whether the supervisor gave up."""
        return self._marker("failed").exists()

    def process(self) -> ProcessId | None:
        """Return the program that runs, as the pid file names it.

        Waits while a fork of the supervisor is about to become it; raises `TimeoutError` when that takes too long.
        """
        found = self._noted()
        if found is None:
            return None
        if not wait_until(lambda: not _is_supervisor(found), timeout=_BECOME):
            raise TimeoutError(f"{self.name} is about to start, and does not")
        return found if found.state() else None

    def start(self, argv: Sequence[str]) -> None:
        """Start a program under a new supervisor; return when it exists, even if it has failed since.

        Takes the marks of a held and of a failed unit away. Raises `HostRefused` when it runs already or does not
        come about, `OSError` when a file cannot be written; then it does not run and the marks are as they were.
        """
        if self._programs():
            raise HostRefused(f"{self.name} below {self.root} runs already.")
        self._end_supervisors()
        if not os.access(argv[0], os.X_OK):
            raise HostRefused(f"{argv[0]} is not there or cannot be executed.")
        make_directory(self.marker_prefix.parent)
        self._rotate_log()
        self._marker("pid").unlink(missing_ok=True)
        log = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        marks = [mark for mark in (self._marker("held"), self._marker("failed")) if mark.exists()]
        try:
            for mark in marks:
                mark.unlink()
            # The first shell ends at once, so that init and not this program is the supervisor's parent.
            subprocess.run(
                [
                    "/bin/sh",
                    "-c",
                    '/bin/sh "$@" &',
                    _NAME,
                    "-c",
                    _SCRIPT,
                    _NAME,
                    str(self.marker_prefix),
                    *argv,
                ],
                cwd="/",
                env={"PATH": os.environ.get("PATH", os.defpath), UNIT_VARIABLE: str(self.marker_prefix)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                check=True,
            )
            if not self._came_about():
                self.stop()
                raise HostRefused(f"{argv[0]} could not be started.", hint=f"{self.log} may say why.")
        except (OSError, subprocess.SubprocessError, HostRefused):
            for mark in marks:
                mark.touch(mode=0o600)
            raise
        finally:
            os.close(log)

    def stop(self) -> None:
        """End the supervisor, then the program: SIGTERM, after `GRACE` seconds SIGKILL. Return when it is gone.

        Raises `HostRefused` for one that not even SIGKILL ends.
        """
        self._end_supervisors()
        running = self._all()
        for process in running:
            process.send(signal.SIGTERM)
        # A halted program would act on SIGTERM only after it is continued.
        wait_until(
            lambda: all(not process.state() or process.is_stopped() for process in running), timeout=GRACE
        )
        if not wait_until(lambda: not self._kill(), timeout=_DIE):
            raise HostRefused(
                f"{self.name} below {self.root} does not end, not even on SIGKILL.",
                hint="It is stuck in the kernel: look at the disk that it uses.",
            )
        self._marker("pid").unlink(missing_ok=True)

    def hold(self) -> None:
        """Stop it and keep it from starting. That it kept failing can still be seen until it is started again."""
        with replacing(self._marker("held"), b""):
            self.stop()

    def forget_failure(self) -> None:
        """Take the mark of failure away: what it failed with has changed."""
        self._marker("failed").unlink(missing_ok=True)

    def _noted(self) -> ProcessId | None:
        """Return the process in the pid file, if the file is of this boot; it may be gone."""
        try:
            pid, start, boot = self._marker("pid").read_text().split()
            return ProcessId(int(pid), int(start)) if boot == boot_id() else None
        except (FileNotFoundError, ValueError):
            return None

    def _came_about(self) -> bool:
        """Wait for the first program of a new supervisor; return whether there was one."""
        missed = 0

        def decided() -> bool:
            nonlocal missed
            noted = self._noted()
            # A look at all processes is no snapshot, so one that finds nothing may have missed the supervisor.
            missed = 0 if noted is not None or self._all() else missed + 1
            return missed == _LOOKS or (noted is not None and not _is_supervisor(noted))

        return wait_until(decided, timeout=_APPEAR) and self._noted() is not None

    def _all(self) -> list[ProcessId]:
        found = list(processes_with(UNIT_VARIABLE, lambda value: value == str(self.marker_prefix)))
        noted = self._noted()
        return [*found, noted] if noted is not None and noted not in found and noted.state() else found

    def _programs(self) -> list[ProcessId]:
        """Return what runs as the unit's program.

        A fork of the supervisor bears the unit's name until it becomes one of its little helpers; then it has their
        arguments, and no longer the name. So a second look, after the arguments were read, tells them apart.
        """
        found = [process for process in self._all() if _is_program(process)]
        return [process for process in self._all() if process in found] if found else []

    def _end_supervisors(self) -> None:
        """End the supervisor, and a fork of it that has not become the program yet."""
        if not wait_until(lambda: not self._kill(_is_supervisor), timeout=_DIE):
            raise HostRefused(f"The supervisor of {self.name} below {self.root} does not end.")

    def _kill(self, which: Callable[[ProcessId], bool] = lambda _: True) -> bool:
        """Kill what is there; return whether there was anything."""
        found = [process for process in self._all() if which(process)]
        for process in found:
            process.send(signal.SIGKILL)
        return bool(found)

    def _rotate_log(self) -> None:
        make_directory(self.log.parent)
        if self.log.exists() and self.log.stat().st_size > _LOG_LIMIT:
            self.log.rename(self.log.with_suffix(".log.1"))


def _is_supervisor(process: ProcessId) -> bool:
    return _NAME in process.argv()[3:4]


def _is_program(process: ProcessId) -> bool:
    # What has ended in this moment is neither.
    return bool(argv := process.argv()) and _NAME not in argv[3:4]
