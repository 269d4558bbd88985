"""What can befall a host, or a run, from outside. Each function strikes and returns what undoes it."""

import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from etcdplan.hosts.processes import wait_until
from tests.bed import DEPLOY
from tests.bed.host import Host
from tests.support.fleet import Done, Fleet
from tests.support.held import Held

Undo = Callable[[], object]
Strike = Callable[[Fleet, Host, Held], Undo]
"""Strikes at a host while the run is held, or is in the middle of a command there."""

ELSEWHERE = ("unshare", "--pid", "--fork", "--mount-proc", "--propagation", "slave", "--kill-child")
"""What a process is started with that cannot see whether one of ours lives."""
STATE = "/var/lib/etcdplan"
_SYSTEM = "/etc/systemd/system"
_SLOW = """#!/bin/sh
if [ -e /run/slow ]; then
    : >/run/slowed
    while [ -e /run/slow ]; do sleep 0.05; done
fi
exec /bin/sync "$@"
"""


def nothing() -> None:
    """What cannot be undone, or heals by itself."""


def by_shell(strike: str, undo: str = ":") -> Strike:
    """Run a script on the host, and another one later."""

    def strikes(_: Fleet, host: Host, __: Held) -> Undo:
        host.exec("sh", "-ec", strike)
        return lambda: host.exec("sh", "-ec", undo)

    return strikes


def both(*strikes: Strike) -> Strike:
    """Let several things happen, and undo them in the opposite order."""

    def strike(fleet: Fleet, host: Host, run: Held) -> Undo:
        undone = [one(fleet, host, run) for one in strikes]
        return lambda: [undo() for undo in reversed(undone)]

    return strike


reset = by_shell(f"pkill -KILL -u {DEPLOY} sshd || :")
"""The host's end of every SSH connection is gone."""


@contextmanager
def in_the_middle(host: Host) -> Iterator[Callable[[], bool]]:
    """Let the next command that changes the host stop half-way; yields what tells whether one has."""
    host.put("/usr/local/sbin/sync", _SLOW, 0o755)
    host.exec("sh", "-c", "rm -f /run/slowed; : >/run/slow")
    try:
        yield lambda: host.exec("test", "-e", "/run/slowed", check=False).returncode == 0
    finally:
        if host.running:
            host.exec("rm", "-f", "/run/slow", "/usr/local/sbin/sync")


# The network


def cut_off(fleet: Fleet, host: Host, _: Held) -> Undo:
    """Nothing passes between the host and the controller."""
    host.cut_from(fleet.bed.controller)
    return host.heal


def partition(*others: int) -> Strike:
    """Nothing passes between the host and these; the controller reaches all."""

    def strike(fleet: Fleet, host: Host, _: Held) -> Undo:
        for number in others:
            if number != host.number:
                host.cut_from(fleet.host(number))
        return host.heal

    return strike


# The host


def power_cut(_: Fleet, host: Host, __: Held) -> Undo:
    """The host is off until it is booted."""
    host.power_cut()
    return host.boot


def new_host_key(fleet: Fleet, host: Host, run: Held) -> Undo:
    """Somebody else answers in the host's place."""
    key = host.exec("cat", "/etc/ssh/ssh_host_ed25519_key").stdout
    host.swap_host_key()
    reset(fleet, host, run)

    def undo() -> None:
        host.put("/etc/ssh/ssh_host_ed25519_key", key, 0o600)
        host.exec("systemctl", "restart", "ssh.service")

    return undo


def hung_systemd(_: Fleet, host: Host, __: Held) -> Undo:
    """The host's process 1 does nothing any more."""
    init = int(host.enter()[1].removeprefix("--target="))
    os.kill(init, signal.SIGSTOP)
    return lambda: os.kill(init, signal.SIGCONT)


def full(path: str) -> Strike:
    """No room is left on the disk of a path."""

    def strike(_: Fleet, host: Host, __: Held) -> Undo:
        host.full_disk(path)
        return lambda: host.free_disk(path)

    return strike


def read_only(path: str) -> Strike:
    """A file or a directory can be read and not written (EROFS)."""
    return by_shell(f"mount --bind {path} {path}; mount -o remount,bind,ro {path}", f"umount {path}")


def immutable(path: str) -> Strike:
    """A file that not even root may change (EPERM), as under a mandatory policy."""
    return by_shell(f"chattr +i {path}", f"chattr -i {path}")


def unit_without_room_in_time(unit: str, seconds: int = 2) -> Strike:
    """The unit's start takes longer than systemd allows it."""
    drop_in = f"{_SYSTEM}/{unit}.d/99-slow.conf"
    text = f"[Service]\nTimeoutStartSec={seconds}\nExecStartPre=/bin/sleep 60\n"
    return by_shell(
        f"mkdir -p {drop_in.rpartition('/')[0]}; printf %s {shlex.quote(text)} >{drop_in}; systemctl daemon-reload",
        f"rm {drop_in}; systemctl daemon-reload",
    )


# Rights

no_sudo = by_shell("mv /etc/sudoers.d/deploy /root/", "mv /root/deploy /etc/sudoers.d/")
_LOGIN = f"/home/{DEPLOY}/.ssh/authorized_keys"
no_login = both(by_shell(f"mv {_LOGIN} {_LOGIN}.away", f"mv {_LOGIN}.away {_LOGIN}"), reset)


def login_shell(text: str) -> Strike:
    """The user has another login shell, in the connection that comes next."""
    there = "/usr/local/bin/odd-shell"
    put = f"printf %s {shlex.quote(text)} >{there}; chmod 755 {there}; usermod -s {there} {DEPLOY}"
    return both(by_shell(put, f"usermod -s /bin/sh {DEPLOY}"), reset)


# Other people, and forgeries


def second_apply(fleet: Fleet, _: Host, __: Held) -> Undo:
    """Somebody on another machine, and somebody on this one, apply the same now: both are sent away."""
    away: list[Done] = []
    for other in (fleet, replace(fleet, command=(*ELSEWHERE, *fleet.command), runners=fleet.runners + 100)):
        away.append(other.apply(expect=None))
    assert all(done.code == 4 and "is locked by" in done.err for done in away), away
    return nothing


def write(path: str, content: str) -> Strike:
    """A file has this content."""
    return by_shell(f"mkdir -p {path.rpartition('/')[0]}; printf %s {shlex.quote(content)} >{path}")


def on_hosts(strike: Strike, *numbers: int) -> Strike:
    """Strike at these hosts, whatever the run does."""
    return lambda fleet, _, run: both(*(lambda f, __, r, n=n: strike(f, f.host(n), r) for n in numbers))(
        fleet, fleet.host(numbers[0]), run
    )


# The run


def kill(_: Fleet, __: Host, run: Held) -> Undo:
    """The run is gone."""
    run.process.kill()
    return nothing


def freeze(seconds: float = 60) -> Strike:
    """The run does nothing for so long, and then goes on where it was."""

    def strike(_: Fleet, __: Host, run: Held) -> Undo:
        run.process.send_signal(signal.SIGSTOP)
        over = time.monotonic() + seconds
        wait_until(lambda: time.monotonic() >= over, timeout=seconds + 60)
        run.process.send_signal(signal.SIGCONT)
        return nothing

    return strike

