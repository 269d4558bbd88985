"""Who holds the lock, and whether that process still lives."""

import os
import pwd
import secrets
import socket
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Self


@dataclass(frozen=True, slots=True)
class Holder:
    """One process that holds, or wants, the lock.

    `id` is new for every attempt. `pid` means something only where `boot_id` and `pid_namespace` are the same:
    containers of one machine share the boot ID, not the PIDs. `pid_started` is in clock ticks since boot.
    """

    id: str
    host: str
    user: str
    pid: int
    pid_started: int
    boot_id: str
    pid_namespace: str
    command: str

    @classmethod
    def here(cls, command: str) -> Self:
        """Describe this process; `command` is shown to people and must hold no secret."""
        pid = os.getpid()
        _, started = _stat(pid)
        return cls(
            id=secrets.token_hex(8),
            host=socket.gethostname(),
            user=_user(),
            pid=pid,
            pid_started=started,
            boot_id=Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
            pid_namespace=str(Path("/proc/self/ns/pid").readlink()),
            command=command,
        )

    def __str__(self) -> str:
        return f"{self.user}@{self.host}, process {self.pid} ({self.command})"


class Life(Enum):
    """What one process can tell about another."""

    RUNNING = "running"
    FROZEN = "frozen"
    DEAD = "dead"
    ELSEWHERE = "elsewhere"
    """On another machine, or in another container; only its heartbeat tells."""


def life(holder: Holder, seen_by: Holder) -> Life:
    """Look for the holder's process; it is dead only when that is proven."""
    if (holder.boot_id, holder.pid_namespace) != (seen_by.boot_id, seen_by.pid_namespace):
        return Life.ELSEWHERE
    try:
        os.kill(holder.pid, 0)
    except (ProcessLookupError, OverflowError):
        return Life.DEAD
    except PermissionError:
        pass
    try:
        state, started = _stat(holder.pid)
    except OSError:
        # It is there, but /proc hides other users' processes (hidepid).
        return Life.RUNNING
    if started != holder.pid_started or state in "ZXx":
        return Life.DEAD
    return Life.FROZEN if state in "Tt" else Life.RUNNING


def _stat(pid: int) -> tuple[str, int]:
    """Return a process's state and start time (proc(5): fields 3 and 22; the name before them may hold anything)."""
    fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    return fields[0], int(fields[19])


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"
