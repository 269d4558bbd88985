"""A process that holds or contends for a lock, for test_lock_processes.py."""

import json
import sys
import time
from pathlib import Path

from etcdplan.apply.holder import Holder
from etcdplan.apply.lock import acquire
from etcdplan.errors import EtcdplanError, LockHeldError
from etcdplan.hosts.ports import Claim
from etcdplan.transport.local import LocalHosts

HOSTS = ("127.0.0.1", "127.0.0.2", "127.0.0.3")


def say(what: object) -> None:
    print(json.dumps(what), flush=True)


def hold(hosts: LocalHosts) -> None:
    """Take the lock, then do what the lines of stdin say."""
    stores = {host: hosts.host(host).store for host in HOSTS}
    with acquire([HOSTS], stores, Holder.here("hold")) as lock:
        say(lock.token)
        for line in sys.stdin:
            command, _, argument = line.strip().partition(" ")
            try:
                if command == "check":
                    lock.check()
                elif command == "beat":
                    lock.beat()
                else:
                    claim = Claim(lock.token, f"{lock.holder.id}-{argument}")
                    hosts.host(command).effects.write_record(claim, argument.encode())
                say("done")
            except EtcdplanError as error:
                say(type(error).__name__)


def contend(hosts: LocalHosts, wins: int, inside: Path) -> None:
    """Try until the lock was held so many times; whoever holds it must be alone with the file `inside`."""
    stores = {host: hosts.host(host).store for host in HOSTS}
    tokens: list[int] = []
    attempts = 0
    deadline = time.monotonic() + 100
    while len(tokens) < wins and time.monotonic() < deadline:
        attempts += 1
        try:
            with acquire([HOSTS], stores, Holder.here("contend")) as lock:
                inside.touch(exist_ok=False)
                tokens.append(lock.token)
                lock.beat()
                inside.unlink()
        except LockHeldError:
            continue
    say([attempts, tokens])


if __name__ == "__main__":
    mode, directory, *rest = sys.argv[1:]
    local = LocalHosts(Path(directory) / "hosts", versions={}, credentials=None)
    if mode == "hold":
        hold(local)
    else:
        contend(local, int(rest[0]), Path(directory) / "inside")
