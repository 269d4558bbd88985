"""Processes of this machine, as /proc shows them; none is ever taken for another one that has its number now."""

import contextlib
import errno
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_POLL = 0.01
_TURN = 5.0


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process number and the time of its start (proc(5): field 22 of `stat`, in ticks since boot).

    Numbers are used again, the two together are not before the next boot.
    """

    pid: int
    start: int

    def state(self) -> str:
        """Return proc(5)'s letter for its state (`T` is stopped); empty when it is gone, be it as a zombie."""
        stat = _stat(self.pid)
        return "" if stat is None or stat[1] != self.start or stat[0] in "ZXx" else stat[0]

    def is_stopped(self) -> bool:
        """Whether a signal or a debugger halts it, so that no other signal than SIGKILL has an effect."""
        return self.state() in ("T", "t")

    def argv(self) -> list[str]:
        """Return its arguments; empty when it is gone."""
        try:
            content = _read_of_program(self.pid, "cmdline")
        except (FileNotFoundError, ProcessLookupError):
            return []
        return [os.fsdecode(part) for part in content.split(b"\0")[:-1]] if self.state() else []

    def program(self) -> str:
        """Return the path of its executable; empty when it is gone."""
        try:
            path = _executable(self.pid)
        except (FileNotFoundError, ProcessLookupError):
            return ""
        return path.removesuffix(" (deleted)") if self.state() else ""

    def started(self) -> int:
        """Return when it was started, in unix seconds by this machine's clock."""
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - self.start / _TICKS
        return round(time.time() - age)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal; nothing happens when it is gone."""
        with contextlib.suppress(ProcessLookupError):
            try:
                descriptor = os.pidfd_open(self.pid)
            except OSError as error:
                if error.errno != errno.ENOSYS:
                    raise
                # Linux before 5.3: the number could pass to another process in the next few microseconds.
                if self.state():
                    os.kill(self.pid, number)
                return
            # The descriptor holds on to whatever process has the number now; the start tells whether it is this one.
            try:
                if self.state():
                    signal.pidfd_send_signal(descriptor, number)
            finally:
                os.close(descriptor)


def boot_id() -> str:
    """Return the kernel's name for the time since the last boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def identify(pid: int) -> ProcessId | None:
    """Return the process that has this number now."""
    stat = _stat(pid)
    return None if stat is None else ProcessId(pid, stat[1])


def processes_with(variable: str, matches: Callable[[str], bool]) -> Iterator[ProcessId]:
    """Yield this user's living processes that were given an environment variable with a value that matches."""
    prefix, uid = f"{variable}=".encode(), os.geteuid()
    for entry in os.scandir("/proc"):
        try:
            if not entry.name.isdigit() or entry.stat().st_uid != uid:
                continue
            process = identify(int(entry.name))
            environment = _read_of_program(int(entry.name), "environ").split(b"\0")
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        values = (os.fsdecode(line[len(prefix) :]) for line in environment if line.startswith(prefix))
        if process is not None and process.state() and any(map(matches, values)):
            yield process


def wait_until(condition: Callable[[], bool], *, timeout: float) -> bool:
    """Wait for a condition; return whether it came true within `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL)
    return True


def _stat(pid: int) -> tuple[str, int] | None:
    """Return state and start of the process with this number."""
    fields = _stat_fields(pid)
    return (fields[0].decode(), int(fields[19])) if fields else None


def _stat_fields(pid: int) -> list[bytes]:
    """Return proc(5)'s fields of `stat` from the third one on; none when there is no such process."""
    try:
        content = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return []
    # The second field, the program's name, may contain anything, blanks and parentheses too.
    return content.rpartition(b")")[2].split()


def _read_of_program(pid: int, name: str) -> bytes:
    """Read arguments or environment. They are empty for a moment while a process turns into another program."""
    content = b""
    place: list[bytes] = []
    empty = 0

    def is_settled() -> bool:
        nonlocal content, place, empty
        content = Path(f"/proc/{pid}/{name}").read_bytes()
        try:
            # The kernel's own threads have no executable, and zombies have none any more.
            if content or not _executable(pid):
                return True
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            return True
        # Fields 50 and 51, env_start and env_end: the latter is not set yet in the middle of it, and the former is
        # another one in each program. Thrice in the same one, because what was opened before that is empty.
        before, place = place, _stat_fields(pid)[47:49]
        empty = empty + 1 if place == before else 1
        return empty >= 3 and place[1:] != [b"0"]

    wait_until(is_settled, timeout=_TURN)
    return content


def _executable(pid: int) -> str:
    return str(Path(f"/proc/{pid}/exe").readlink())
