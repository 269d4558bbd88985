"""A `Shell` on a host of the bed, past its sshd: the scripts meet real systemd, and nothing else is between."""

from dataclasses import dataclass, field

from etcdplan.hosts.ports import HostOutcomeUnknown, HostUnreachable
from etcdplan.hosts.shell import DEFAULT_LIMIT, Completed, Stream
from tests.bed import BedError, Host
from tests.support.local_shell import SSHD


@dataclass
class BedShell:
    """Implements `Shell`; `verbs` is what was asked of the host."""

    host: Host
    verbs: list[str] = field(default_factory=list)

    @property
    def address(self) -> str:
        """The host's address."""
        return self.host.address

    def run(
        self,
        script: str,
        *arguments: str,
        stdin: bytes | Stream = b"",
        timeout: float,
        limit: int = DEFAULT_LIMIT,
    ) -> Completed:
        """Run a script as root."""
        stdin = stdin if isinstance(stdin, bytes) else b"".join(stdin.chunks())
        self.verbs.append(arguments[1])
        if not self.host.running:
            raise HostUnreachable(f"{self.address} is off.")
        try:
            done = self.host.exec(
                *("sh", "-c", SSHD, "sshd", script, "etcdplan", *arguments),
                stdin=stdin,
                timeout=timeout,
                check=False,
            )
        except BedError as error:
            raise HostOutcomeUnknown(str(error)) from error
        return Completed(done.returncode, done.stdout.encode(), done.stderr)
