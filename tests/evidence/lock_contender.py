"""A process that competes for a lock, and notes what became of each attempt.

python -m tests.evidence.lock_contender DIRECTORY SEED ATTEMPTS HOST...

With DIRECTORY/ssh_config the hosts are reached over SSH, else they are directories of DIRECTORY/hosts. Each attempt is
a line of DIRECTORY/attempts. Whoever has the lock must be the only one with DIRECTORY/inside; some die there.
"""

import fcntl
import json
import os
import random
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from etcdplan.apply.holder import Holder
from etcdplan.apply.lock import Lock, acquire
from etcdplan.errors import LockHeldError, UnobservedError
from etcdplan.hosts.ports import Claim, Hosts

_DIES = 0.1
PAUSE = {True: 4.0, False: 0.05}
"""Seconds at most between two attempts: about as long as all others need."""


def hosts_of(directory: Path) -> Hosts:
    """Return the way to the hosts."""
    config = directory / "ssh_config"
    if not config.exists():
        from etcdplan.transport.local import LocalHosts

        return LocalHosts(directory / "hosts", versions={}, credentials=None)
    from etcdplan.hosts.remote.layout import Layout
    from etcdplan.transport.remote_hosts import RemoteHosts
    from etcdplan.transport.ssh import SshHosts
    from etcdplan.transport.ssh_config import SshSettings

    ssh = SshHosts(SshSettings(config_file=config))
    return RemoteHosts(ssh, credentials=None, layout=lambda _: Layout())


class Contender:
    """One process."""

    def __init__(self, directory: Path, seed: int, names: list[str]) -> None:
        self.directory, self.random, self.names = directory, random.Random(seed), names
        self.over_ssh = (directory / "ssh_config").exists()
        self.hosts = hosts_of(directory)
        self.stores = {name: self.hosts.host(name).store for name in names}
        self.inside = os.open(directory / "inside", os.O_RDWR | os.O_CREAT)
        self.notes = os.open(directory / "attempts", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def note(self, outcome: str, token: int = 0) -> None:
        """Write one line, at once."""
        os.write(
            self.notes, json.dumps({"outcome": outcome, "token": token, "pid": os.getpid()}).encode() + b"\n"
        )

    def attempt(self, each: ThreadPoolExecutor) -> None:
        """Try once; with the lock, change a host."""
        try:
            lock = acquire([self.names], self.stores, Holder.here("contend"), each=each.map)
        except LockHeldError as error:
            self.note("lost race" if "same moment" in error.message else "held")
        except UnobservedError as error:
            # Others write the same files, too: a majority may be busy, or be theirs.
            self.note(f"too few: {error.message}")
        else:
            with lock:
                self.hold(lock)

    def hold(self, lock: Lock) -> None:
        """Be alone."""
        try:
            fcntl.flock(self.inside, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.note("double holder", lock.token)
            return
        self.note("held it", lock.token)
        lock.beat()
        lock.check()
        host = self.random.choice(self.names)
        self.hosts.host(host).effects.write_record(Claim(lock.token, f"{lock.holder.id}-1"), b"{}")
        time.sleep(self.random.uniform(0, 0.05))
        if self.random.random() < _DIES:
            self.note("died with it", lock.token)
            os.kill(os.getpid(), signal.SIGKILL)
        fcntl.flock(self.inside, fcntl.LOCK_UN)


def main() -> None:
    """Make the attempts."""
    contender = Contender(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[4:])
    with ThreadPoolExecutor(4) as each:
        for _ in range(int(sys.argv[3])):
            contender.attempt(each)
            time.sleep(contender.random.uniform(0, PAUSE[contender.over_ssh]))


if __name__ == "__main__":
    main()
