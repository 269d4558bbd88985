"""The bed: hosts on one network, and the keys by which a strict SSH client reaches them."""

import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.bed import claims
from tests.bed.command import BedError, require, run
from tests.bed.host import Host
from tests.bed.root_file_system import root_file_system

DEPLOY = "deploy"
"""The user who may do all by `sudo -n`. `root` may log in too."""
VISITOR = "visitor"
"""The user without any right of sudo."""


class Bed:
    """Hosts 1 to `bare` have no etcd at all, the `debian` ones after them Debian's package as it installs itself.

    A context manager: all hosts run inside it, and nothing is left of them after it. Up to 8 hosts; any number
    of beds beside each other. Raises `BedError` where this machine cannot run it: it never skips.
    """

    def __init__(self, bare: int = 0, debian: int = 0, *, over: Sequence[Path] = ()) -> None:
        """`over` are layers that lie over those of every host."""
        if not 0 < bare + debian <= claims.MOST_HOSTS:
            raise BedError(f"A bed has 1 to {claims.MOST_HOSTS} hosts, not {bare + debian}.")
        self._kinds = [True] * bare + [False] * debian
        self._over = tuple(over)
        self.hosts: tuple[Host, ...] = ()

    def __enter__(self) -> Self:
        require()
        layers = root_file_system()
        self._network, self._directory = claims.claim()
        try:
            self._start(layers)
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove()

    def host(self, number: int) -> Host:
        """Return a host by its number, which starts at 1."""
        if not 1 <= number <= len(self.hosts):
            raise BedError(f"There is no host {number}, only 1 to {len(self.hosts)}.")
        return self.hosts[number - 1]

    @property
    def controller(self) -> str:
        """The address of this machine on the hosts' network."""
        return self._network.controller

    @property
    def identity(self) -> Path:
        """The private key that logs in as root, `DEPLOY` and `VISITOR`, without a passphrase."""
        return self._directory / "identity"

    @property
    def known_hosts(self) -> Path:
        """The hosts' keys by address, from the hosts themselves and as they were at first."""
        return self._directory / "known_hosts"

    def ssh(
        self, host: Host, *command: str, user: str = DEPLOY, stdin: bytes = b"", timeout: float = 30
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command by the strict OpenSSH client, which knows this bed's files and no configuration."""
        options = [
            *("-F", "none", "-i", str(self.identity)),
            *(f"-oUserKnownHostsFile={self.known_hosts}", "-oGlobalKnownHostsFile=none"),
            *(
                "-oStrictHostKeyChecking=yes",
                "-oIdentitiesOnly=yes",
                "-oIdentityAgent=none",
                "-oBatchMode=yes",
            ),
            *("-oUpdateHostKeys=no", "-oConnectTimeout=5"),
        ]
        return subprocess.run(
            ["ssh", *options, f"{user}@{host.address}", "--", *command],
            input=stdin,
            capture_output=True,
            timeout=timeout,
            check=False,
        )

    def _start(self, layers: Path) -> None:
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "bed", "-f", self.identity)
        authorized = self.identity.with_suffix(".pub").read_text()
        self.hosts = tuple(
            self._host(number, layers, bare) for number, bare in enumerate(self._kinds, start=1)
        )
        names = "".join(f"{host.address} {host.name}\n" for host in self.hosts)

        def start(host: Host) -> None:
            host.install(f"127.0.0.1 localhost\n{names}", authorized)
            host.boot()

        self._each(start)
        self.known_hosts.write_text("".join(f"{host.address} {host.host_key}\n" for host in self.hosts))

    def _host(self, number: int, layers: Path, bare: bool) -> Host:
        lower = [*self._over, *([layers / "bare"] if bare else []), layers / "debian"]
        return Host(number, self._network, self._directory / f"h{number}", lower)

    def _remove(self) -> None:
        try:
            # A power cut and not a shutdown: nothing that a test wrote needs to be kept.
            self._each(Host.power_cut)
        finally:
            claims.remove(self._network, self._directory)

    def _each(self, do: Callable[[Host], None]) -> None:
        with ThreadPoolExecutor(claims.MOST_HOSTS) as pool:
            list(pool.map(do, self.hosts))
