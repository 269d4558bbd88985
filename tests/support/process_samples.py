"""What programs on hosts of the test bed are called with, noted all the while."""

import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.bed.host import Host

_EVERY = 0.02


class ProcessSamples:
    """Command lines and environments of all processes of some hosts, each once."""

    def __init__(self, hosts: Collection[Host]) -> None:
        self.command_lines: set[bytes] = set()
        self.environments: set[bytes] = set()
        self._groups = tuple(f"/{host.group.name}/" for host in hosts)
        self._on_hosts: dict[str, bool] = {}
        self._stop = threading.Event()

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Look again and again."""
        thread = threading.Thread(target=self._look, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join(30)

    def _look(self) -> None:
        while not self._stop.wait(_EVERY):
            there = {path.name for path in Path("/proc").iterdir() if path.name.isdigit()}
            self._on_hosts = {pid: known for pid, known in self._on_hosts.items() if pid in there}
            for pid in there:
                with suppress(OSError):
                    self._sample(Path("/proc", pid), pid)

    def _sample(self, process: Path, pid: str) -> None:
        if pid not in self._on_hosts:
            # A path below the host's group, also for process 1 and what nspawn has put into groups of its own.
            groups = (process / "cgroup").read_text().replace("\n", "/\n")
            self._on_hosts[pid] = any(group in groups for group in self._groups)
        if self._on_hosts[pid]:
            self.command_lines.add((process / "cmdline").read_bytes())
            # What an API server's own environment file says belongs into its own environment.
            if (process / "exe").readlink().name != "kube-apiserver":
                self.environments.add((process / "environ").read_bytes())
