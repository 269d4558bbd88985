"""Commands on this machine, and conditions to wait for: each with a deadline and a plain failure."""

import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

_TOOLS = (
    "systemd-nspawn",
    "nft",
    "ip",
    "mkfs.ext4",
    "ssh-keygen",
    "ssh",
    "nsenter",
    "unshare",
    "mount",
    "losetup",
)


class BedError(Exception):
    """The test bed cannot do what it was asked to do; the message says what is missing or what failed."""


def require() -> None:
    """Raise `BedError` when this machine cannot run hosts at all."""
    if os.geteuid() != 0:
        raise BedError("The test bed needs root: it makes network namespaces, mounts and hosts.")
    if missing := [tool for tool in _TOOLS if shutil.which(tool) is None]:
        raise BedError(f"The test bed needs {', '.join(missing)}: run {Path(__file__).with_name('install')}.")


def run(*argv: str | Path, stdin: str = "", timeout: float = 30) -> str:
    """Return what a command wrote to its standard output; `BedError` with its own words when it failed."""
    line = shlex.join(map(str, argv))
    try:
        done = subprocess.run(argv, input=stdin.encode(), capture_output=True, timeout=timeout, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BedError(f"{line}: {error}") from error
    if done.returncode != 0:
        said = (done.stderr + done.stdout).decode(errors="replace").strip()
        raise BedError(f"{line}: exit status {done.returncode}: {said}")
    return done.stdout.decode(errors="replace")


def wait_until(what: str, condition: Callable[[], bool], timeout: float = 10) -> None:
    """Return as soon as the condition holds; `BedError` when it does not within the deadline."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise BedError(f"After {timeout:g} s, still waiting until {what}.")
        time.sleep(0.01)
