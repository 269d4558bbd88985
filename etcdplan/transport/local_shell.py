"""etcdplan's scripts on a host of a lab, which is a directory of this machine."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from etcdplan.hosts.ports import HostUnreachable
from etcdplan.hosts.shell import DEFAULT_LIMIT, Completed, Stream


@dataclass(frozen=True, slots=True)
class BelowRoot:
    """Implements `Shell` for scripts that only read: they see `root` as the host's."""

    address: str
    root: Path

    def run(
        self,
        script: str,
        *arguments: str,
        stdin: bytes | Stream = b"",
        timeout: float,
        limit: int = DEFAULT_LIMIT,
    ) -> Completed:
        """Run a script as this user."""
        begun, _, rest = script.partition("\nroot=\n")
        try:
            done = subprocess.run(
                ["/bin/sh", "-c", f"{begun}\nroot=$ETCDPLAN_ROOT\n{rest}", "etcdplan", *arguments],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                env={"PATH": os.environ.get("PATH", os.defpath), "ETCDPLAN_ROOT": str(self.root)},
                timeout=timeout,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise HostUnreachable(f"Host {self.address} could not be read: {error}.") from error
        if len(done.stdout) > limit:
            raise HostUnreachable(f"Host {self.address} said more than {limit} bytes.")
        return Completed(done.returncode, done.stdout, done.stderr.decode(errors="replace"))
