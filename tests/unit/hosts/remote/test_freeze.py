"""File systems are frozen by a service of the host, which thaws them whatever becomes of everybody else."""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from etcdplan.hosts.ports import Claim, Fenced, HostRefused
from etcdplan.hosts.processes import wait_until
from tests.unit.hosts.remote.conftest import SETTINGS, TOKEN, Bench

# A service runs on its own, and what comes after it comes however it ends.
SYSTEMD_RUN = """#!/bin/sh
while :; do
    case $1 in
    --property=ExecStopPost=*) after=${1#--property=ExecStopPost=} ;;
    --*) ;;
    *) break ;;
    esac
    shift
done
(
    exec 9>&-
    "$@" &
    echo $! >FAKE/keeper
    wait
    $after
    : >FAKE/ended
) </dev/null >/dev/null 2>&1 &
"""
FSFREEZE = """#!/bin/sh
echo "$1 $2" >>FAKE/fsfreeze
mark=FAKE/frozen$(echo "$2" | tr / _)
case $1 in
--freeze)
    if [ -e "$mark" ]; then echo "fsfreeze: $2: freeze failed: Device or resource busy" >&2; exit 1; fi
    : >"$mark"
    ;;
--unfreeze)
    if [ -e "$mark.stuck" ]; then echo "fsfreeze: $2: unfreeze failed: Input/output error" >&2; exit 1; fi
    if ! rm "$mark" 2>/dev/null; then echo "fsfreeze: $2: unfreeze failed: Invalid argument" >&2; exit 1; fi
    ;;
esac
"""
FINDMNT = """#!/bin/sh
for path; do :; done
case ${path#ROOT} in
LOG) echo 7:2 /mnt/log ;;
/var/lib/etcd | /var/lib/etcd/*) echo 7:1 /var/lib/etcd ;;
*) echo OTHERS ;;
esac
"""


class Frozen:
    """A host whose data, and maybe log, have file systems of their own."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.fake = bench, bench.root / "fake"
        self.fake.mkdir(exist_ok=True)
        for name, text in (("systemd-run", SYSTEMD_RUN), ("fsfreeze", FSFREEZE)):
            bench.shell.shim(name, text.replace("FAKE", str(self.fake)))
        self.mounts()
        self.settings()

    def mounts(self, others: str = "8:1 /") -> None:
        text = FINDMNT.replace("ROOT", str(self.bench.root)).replace("LOG", "/mnt/log/wal")
        self.bench.shell.shim("findmnt", text.replace("OTHERS", others))

    def settings(self, **more: str) -> None:
        self.bench.host.effects.write_settings(self.bench.claim(), "etcd", {**SETTINGS, **more})

    def freeze(self, seconds: int = 20) -> tuple[str, ...]:
        return self.bench.host.effects.freeze_data(self.bench.claim(), seconds)

    def thaw(self) -> None:
        self.bench.host.effects.thaw_data(self.bench.claim())

    def now(self) -> set[str]:
        return {path.name for path in self.fake.glob("frozen*") if not path.name.endswith(".stuck")}

    def asked(self) -> list[str]:
        log = self.fake / "fsfreeze"
        return log.read_text().splitlines() if log.exists() else []


@pytest.fixture
def host(bench: Bench) -> Iterator[Frozen]:
    host = Frozen(bench)
    yield host
    # Whatever a test has left frozen, nothing of it stays behind.
    if (host.fake / "keeper").exists() and not (host.fake / "ended").exists():
        with suppress(ProcessLookupError):
            os.kill(int((host.fake / "keeper").read_text()), signal.SIGKILL)
        assert wait_until((host.fake / "ended").exists, timeout=10)


def test_it_is_frozen_until_it_is_to_thaw(host: Frozen) -> None:
    assert host.freeze() == ("/var/lib/etcd",)
    assert host.now() == {"frozen_var_lib_etcd"}
    host.thaw()
    assert host.asked() == ["--freeze /var/lib/etcd", "--unfreeze /var/lib/etcd"]
    # What comes after the service finds nothing to thaw, which somebody else might have frozen since.
    assert wait_until((host.fake / "ended").exists, timeout=10)
    assert len(host.asked()) == 2


def test_a_log_that_is_elsewhere_is_frozen_after_the_data_and_thawed_before(host: Frozen) -> None:
    host.settings(**{"wal-dir": "/mnt/log/wal"})
    assert host.freeze() == ("/var/lib/etcd", "/mnt/log")
    host.thaw()
    assert host.asked() == [
        "--freeze /var/lib/etcd",
        "--freeze /mnt/log",
        "--unfreeze /mnt/log",
        "--unfreeze /var/lib/etcd",
    ]


def test_nobody_needs_to_thaw_it(host: Frozen) -> None:
    host.freeze(1)
    assert wait_until(lambda: not host.now(), timeout=10)
    with pytest.raises(HostRefused, match="its time was over"):
        host.thaw()


def test_it_thaws_when_what_keeps_it_is_killed(host: Frozen) -> None:
    host.freeze()
    os.kill(int((host.fake / "keeper").read_text()), signal.SIGKILL)
    assert wait_until(lambda: not host.now(), timeout=10)
    with pytest.raises(HostRefused, match="thawed before, by somebody else or because its keeper was ended"):
        host.thaw()


def test_what_somebody_else_has_thawed_was_not_frozen_until_now(host: Frozen) -> None:
    host.freeze()
    (host.fake / "frozen_var_lib_etcd").unlink()
    with pytest.raises(HostRefused, match="thawed before, by somebody else"):
        host.thaw()


def test_what_somebody_else_has_frozen_stays_so(host: Frozen) -> None:
    host.settings(**{"wal-dir": "/mnt/log/wal"})
    (host.fake / "frozen_mnt_log").touch()
    with pytest.raises(HostRefused, match="/mnt/log: freeze failed: Device or resource busy"):
        host.freeze()
    assert host.now() == {"frozen_mnt_log"}


def test_what_does_not_thaw_is_said_loudly_and_tried_again_afterwards(host: Frozen) -> None:
    host.freeze()
    (host.fake / "frozen_var_lib_etcd.stuck").touch()
    with pytest.raises(HostRefused, match=r"A FILE SYSTEM IS STILL FROZEN: .*Input/output error"):
        host.thaw()
    assert wait_until(lambda: len(host.asked()) == 3, timeout=10)


@pytest.mark.parametrize("others", ["7:1 /", "7:1 /var/lib"])
def test_what_the_host_needs_to_thaw_is_not_frozen(host: Frozen, others: str) -> None:
    host.mounts(others)
    with pytest.raises(HostRefused, match="needs one of its own"):
        host.freeze()
    assert not host.asked()


def test_a_controller_that_was_replaced_freezes_nothing(host: Frozen) -> None:
    host.bench.lock(TOKEN + 1)
    with pytest.raises(Fenced):
        host.freeze()
    assert not host.asked()


def test_after_a_lost_reply_it_is_known_that_it_is_frozen(host: Frozen) -> None:
    host.bench.shell.lose = lambda verb: verb == "freeze"
    assert host.freeze() == ("/var/lib/etcd",)
    host.bench.shell.lose = lambda verb: verb == "thaw"
    host.thaw()
    assert not host.now()


def test_without_a_freeze_there_is_nothing_to_thaw(host: Frozen, tmp_path: Path) -> None:
    with pytest.raises(HostRefused, match="nothing is frozen"):
        host.bench.host.effects.thaw_data(Claim(TOKEN, "x"))
