"""What can befall a host, or a run, from outside. Each function strikes and returns what undoes it."""

import json
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from etcdplan.hosts.processes import wait_until
from etcdplan.lab.binaries import etcd_binaries
from tests.bed import DEPLOY
from tests.bed.host import Host
from tests.support.fleet import VERSION, Done, Fleet
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


def _put(path: str, content: str) -> str:
    return f"mkdir -p {path.rpartition('/')[0]}; printf %s {shlex.quote(content)} >{path}"


def nothing() -> None:
    """What cannot be undone, or heals by itself."""


def no_strike(*_: object) -> Undo:
    """What is wrong was so from the beginning."""
    return nothing


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


def partition(fleet: Fleet, host: Host, _: Held) -> Undo:
    """Nothing passes between the host and all others; the controller reaches it."""
    for other in fleet.bed.hosts:
        if other.number != host.number:
            host.cut_from(other)
    return host.heal


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


def slow_start(unit: str) -> Strike:
    """The unit's start takes longer than systemd allows it."""
    drop_in = f"{_SYSTEM}/{unit}.d/99-slow.conf"
    text = "[Service]\nTimeoutStartSec=2\nExecStartPre=/bin/sleep 60\n"
    return by_shell(
        f"{_put(drop_in, text)}; systemctl daemon-reload", f"rm {drop_in}; systemctl daemon-reload"
    )


def other_etcd(_: Fleet, host: Host, __: Held) -> Undo:
    """Another etcd runs on the host, with data and ports of its own."""
    ports = "--listen-client-urls=http://127.0.0.1:12379 --advertise-client-urls=http://127.0.0.1:12379"
    peers = "--listen-peer-urls=http://127.0.0.1:12380 --initial-advertise-peer-urls=http://127.0.0.1:12380"
    cluster = "--initial-cluster=other=http://127.0.0.1:12380 --name=other --data-dir=/srv/other"
    command = f"/usr/local/bin/etcd {ports} {peers} {cluster}".split()
    host.exec("systemd-run", "--unit=other-etcd", *command)
    return lambda: host.exec("systemctl", "stop", "other-etcd")


# Rights

no_sudo = by_shell("mv /etc/sudoers.d/deploy /root/", "mv /root/deploy /etc/sudoers.d/")
_LOGIN = f"/home/{DEPLOY}/.ssh/authorized_keys"
no_login = both(by_shell(f"mv {_LOGIN} {_LOGIN}.away", f"mv {_LOGIN}.away {_LOGIN}"), reset)


def login_shell(text: str) -> Strike:
    """The user has another login shell, in the connection that comes next."""
    there = "/usr/local/bin/odd-shell"
    put = f"{_put(there, text)}; chmod 755 {there}; usermod -s {there} {DEPLOY}"
    return both(by_shell(put, f"usermod -s /bin/sh {DEPLOY}"), reset)


# Other people, and forgeries


def second_apply(fleet: Fleet, _: Host, __: Held) -> Undo:
    """Somebody on this machine, and somebody on another one, apply the same now: both are sent away."""
    away = _elsewhere_too(fleet)
    assert all(done.code == 4 and "is locked by" in done.err for done in away), away
    return nothing


def late_apply(fleet: Fleet, _: Host, __: Held) -> Undo:
    """The same when all is done: both find nothing to do, for which they need no lock."""
    late = _elsewhere_too(fleet)
    assert all(done.code == 0 and "No changes" in done.out for done in late), late
    return nothing


def _elsewhere_too(fleet: Fleet) -> list[Done]:
    elsewhere = replace(fleet, command=(*ELSEWHERE, *fleet.command), runners=fleet.runners + 100)
    return [other.apply(expect=None) for other in (fleet, elsewhere)]


def write(path: str, content: str, undo: str = ":") -> Strike:
    """A file has this content."""
    return by_shell(_put(path, content), undo)


_FORGED = f"{STATE}/journal/99999999-forged.jsonl"
forged_journal = write(_FORGED, '{"seq": 0} \033[2J is no journal\n')


def forged_journals(fleet: Fleet, host: Host, run: Held) -> Undo:
    """No host has a journal that can be trusted, and the run is gone: whoever resumes is sent away."""
    kill(fleet, host, run)
    for one in fleet.bed.hosts:
        forged_journal(fleet, one, run)
    done = fleet.resume(expect=None)
    assert done.code == 1 and "No copy of the newest journal is valid" in done.err, done
    assert "\033" not in done.err, done
    return lambda: [one.exec("rm", _FORGED) for one in fleet.bed.hosts]


def by_hand(verb: str) -> Strike:
    """Somebody who knows of no etcdplan does this to the member on the host, through another one."""

    def strike(fleet: Fleet, host: Host, _: Held) -> Undo:
        others = [other for other in fleet.bed.hosts if other.number != host.number]
        through = [
            other for other in others if other.exec("pgrep", "-x", "etcd", check=False).returncode == 0
        ]
        listed = json.loads(etcdctl(fleet, through[:1], "member", "list", "--write-out=json"))["members"]
        url = f"https://{host.address}:2380"
        number = next(member["ID"] for member in listed if member["peerURLs"] == [url])
        etcdctl(fleet, through[:1], "member", verb, f"{number:x}")
        return nothing

    return strike


def etcdctl(fleet: Fleet, hosts: Iterable[Host], *arguments: str) -> str:
    """Run etcdctl with these endpoints and return what it prints."""
    pki = fleet.directory / "pki"
    endpoints = ",".join(f"https://{host.address}:2379" for host in hosts)
    trust = (f"--cacert={pki}/etcd-ca.crt", f"--cert={pki}/operator.crt", f"--key={pki}/operator.key")
    command = [f"{etcd_binaries(VERSION)}/etcdctl", f"--endpoints={endpoints}", *trust, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done
    return done.stdout


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
