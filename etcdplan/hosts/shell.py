"""The only way to a remote host: a POSIX shell script that runs there as root."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

DEFAULT_LIMIT = 1 << 20
"""Bytes of stdout that are read when nothing else is said."""


@dataclass(frozen=True, slots=True)
class Completed:
    """What a script that ended left.

    `status` is its exit status (128 + N when signal N ended it), `stdout` all that it wrote there, byte for byte.
    `stderr` is for people: the beginning of what it wrote there, with every character escaped that does not print, line
    ends excepted.
    """

    status: int
    stdout: bytes
    stderr: str


class Stream(Protocol):
    """What is too large for memory, on its way to a host's stdin."""

    @property
    def size(self) -> int:
        """Bytes in all."""
        ...

    def chunks(self) -> Iterator[bytes]:
        """Yield all of it, from the beginning each time; a piece that fails (`OSError`) is the last."""
        ...


class Shell(Protocol):
    """A host on which scripts run. Threads may share it."""

    @property
    def address(self) -> str:
        """The host's address, as the spec or the member list names it."""
        ...

    def run(
        self,
        script: str,
        *arguments: str,
        stdin: bytes | Stream = b"",
        timeout: float,
        limit: int = DEFAULT_LIMIT,
    ) -> Completed:
        """Run `sh -c SCRIPT etcdplan ARGUMENTS…` as root on the host and return what it did, whatever its status.

        It starts in `/`, with the sbin directories in PATH and LC_ALL=C. Everybody on the host can read the script and
        the arguments (`/proc/*/cmdline`): secrets travel on `stdin`. No string may hold a NUL, and all of them together
        not more than about 100 KiB (`ValueError`). `timeout` is for the whole call, connecting included. Raises

        - `HostUnreachable` when the script certainly did not start because the host does not answer or is not trusted;
        - `HostRefused` when it certainly did not start because the host does not let it: no right to run as root;
        - `HostOutcomeUnknown` when the connection broke, the deadline passed or more than `limit` bytes came on stdout
          after it may have started. It may still be running then.
        """
        ...
