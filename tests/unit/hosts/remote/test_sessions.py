"""The SSH sessions that calls were let through: noted, and ended by whoever takes over. `sshd` is a stand-in."""

import itertools
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from etcdplan.hosts.ports import HostRefused
from etcdplan.hosts.processes import wait_until
from etcdplan.hosts.remote.once import Effects
from tests.support.local_shell import SSHD
from tests.unit.hosts.remote.conftest import TOKEN, Bench

_LIVES_ON = f"{SSHD.rpartition(';')[0]}; echo let through; exec 0<&-; while :; do sleep 0.1; done"


class Sessions:
    """Sessions that go on when their script has ended, as those of a controller do."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.processes: list[subprocess.Popen[bytes]] = []
        self._run, self._numbers = bench.shell.begin, itertools.count(1)

    def open(self, token: int, *, ignores: str = "") -> subprocess.Popen[bytes]:
        """Let a call of this token through a new session, which may ignore signals."""
        before = len(self.bench.shell.started)
        trap = f"trap '' {ignores};" if ignores else ""
        self.bench.lock(token)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("tests.support.local_shell.SSHD", trap + _LIVES_ON)
            patch.setattr(self.bench.shell, "run", self._begin)
            with pytest.raises(StopIteration):
                Effects(self.bench.shell).do(self.bench.claim(token), "call", "call", "0")
        self.processes += self.bench.shell.started[before:]
        return self.processes[-1]

    def _begin(self, script: str, *arguments: str, stdin: bytes, timeout: float, limit: int) -> None:
        process = self.bench.shell.begin(script, *arguments, stdin=stdin)
        assert process.stdout is not None
        assert process.stdin is not None
        process.stdin.close()
        said = b""
        while not said.endswith(b"let through\n"):
            said += process.stdout.read1()
        assert b" done" in said, said
        raise StopIteration

    def noted(self) -> list[list[str]]:
        lines = (self.bench.root / "var/lib/etcdplan/sessions").read_text().split("\n")
        return [line.split() for line in lines if line]


@pytest.fixture
def sessions(bench: Bench) -> Iterator[Sessions]:
    yield Sessions(bench)


def ended(process: subprocess.Popen[bytes]) -> bool:
    return process.poll() is not None


def test_the_session_of_a_call_is_noted_before_it_is_let_through(sessions: Sessions) -> None:
    process = sessions.open(TOKEN)
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    start = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[19]
    assert sessions.noted() == [[str(TOKEN), boot, str(process.pid), start]]
    other = sessions.open(TOKEN)
    assert [line[2] for line in sessions.noted()] == [str(process.pid), str(other.pid)]
    sessions.open(TOKEN + 1)
    assert [line[0] for line in sessions.noted()] == [str(TOKEN + 1)]


def test_whoever_takes_over_ends_the_sessions_of_older_tokens_and_no_other(
    bench: Bench, sessions: Sessions
) -> None:
    one, two = sessions.open(TOKEN), sessions.open(TOKEN, ignores="TERM")
    bystander = sessions.open(TOKEN)
    notes = bench.root / "var/lib/etcdplan/sessions"
    # Its PID may be another process's by now.
    notes.write_text(notes.read_text().replace(sessions.noted()[2][3], "1"))
    bench.host.store.end_sessions(TOKEN)
    assert not any(map(ended, (one, two, bystander))), "they are of this token, not of an older one"
    bench.host.store.end_sessions(TOKEN + 1)
    assert wait_until(lambda: ended(one) and ended(two), timeout=10)
    assert not ended(bystander)
    bench.host.store.end_sessions(TOKEN + 1)


def test_a_session_of_an_earlier_boot_is_not_looked_for(bench: Bench, sessions: Sessions) -> None:
    process = sessions.open(TOKEN)
    notes = bench.root / "var/lib/etcdplan/sessions"
    notes.write_text(
        notes.read_text().replace(sessions.noted()[0][1], "11111111-2222-3333-4444-555555555555")
    )
    bench.host.store.end_sessions(TOKEN + 1)
    assert not ended(process)


def test_without_sessions_nothing_is_to_be_ended(bench: Bench) -> None:
    bench.host.store.end_sessions(TOKEN)


def test_a_call_whose_session_could_not_be_ended_is_not_let_through(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.support.local_shell.SSHD", 'sh -c "$@"; exit $?')
    with pytest.raises(HostRefused, match="no SSH server is found"):
        bench.host.effects.member_promote(bench.claim(), "http://a", 7)
    assert bench.members.called == []
