"""Scripts on a real sshd: what comes back, and what is said when nothing does."""

import hashlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from etcdplan.hosts.ports import HostOutcomeUnknown, HostUnreachable
from etcdplan.hosts.shell import Shell
from etcdplan.transport.ssh import SshHosts
from etcdplan.transport.ssh_connection import Connection
from tests.support.ssh_fixtures import hosts, runner, server
from tests.support.sshd import Runner, Sshd

__all__ = ["hosts", "runner", "server"]
pytestmark = [pytest.mark.bed, pytest.mark.timeout(120)]


@pytest.fixture
def shell(hosts: SshHosts) -> Shell:
    return hosts.shell("h")


def test_a_script_its_arguments_and_its_input(shell: Shell) -> None:
    words = ["a b", "", "'\"$HOME`id`\\", "-n", "é\n*", "=ls"]
    done = shell.run('id -u; echo "$0"; printf "<%s>" "$@"; cat', *words, stdin=b"\x00in\n", timeout=20)
    expected = f"{os.geteuid()}\netcdplan\n" + "".join(f"<{word}>" for word in words) + "\0in\n"
    assert (done.status, done.stdout, done.stderr) == (0, expected.encode(), "")


def test_where_a_script_starts(shell: Shell) -> None:
    done = shell.run('pwd; echo "$LC_ALL"; echo "$PATH"', timeout=20)
    directory, language, path = done.stdout.decode().splitlines()
    assert (directory, language) == ("/", "C")
    assert {"/usr/sbin", "/usr/bin", "/sbin", "/bin"} <= set(path.split(":"))


def test_statuses(shell: Shell) -> None:
    assert shell.run("exit 3", timeout=20).status == 3
    assert shell.run("kill -9 $$", timeout=20).status == 128 + signal.SIGKILL
    assert shell.run("kill -PIPE $$", timeout=20).status == 128 + signal.SIGPIPE


@pytest.mark.parametrize("script", ["-x", "+x", "--", "", "\n", "# nothing"])
def test_a_script_is_never_taken_for_an_option(shell: Shell, script: str) -> None:
    done = shell.run(script, "echo wrong", timeout=20)
    assert done.status == (127 if script.strip("\n# ") in ("-x", "+x", "--") else 0)
    assert done.stdout == b""


def test_without_input_a_script_finds_its_end(shell: Shell) -> None:
    assert shell.run("cat; echo end", timeout=20).stdout == b"end\n"


def test_binary_output_and_large_input(shell: Shell) -> None:
    data = os.urandom(3 << 20)
    assert shell.run("cat", stdin=data, timeout=60, limit=4 << 20).stdout == data


@dataclass
class Stream:
    """Implements `Stream`; a piece that is no bytes cannot be read."""

    pieces: list[bytes | None]
    given: int = 0
    size: int = 1

    def chunks(self) -> Iterator[bytes]:
        for piece in self.pieces:
            if piece is None:
                raise OSError("a bad disk")
            self.given += 1
            yield piece


def test_a_stream_is_read_as_it_is_sent(shell: Shell) -> None:
    piece = os.urandom(1 << 20)
    stream = Stream([piece] * 40)
    wanted = hashlib.sha256(piece * 40).hexdigest()
    assert shell.run("sha256sum", stdin=stream, timeout=60).stdout.decode().split()[0] == wanted
    slow = Stream([piece] * 40)
    assert shell.run("sleep 1; exit 3", stdin=slow, timeout=60).status == 3
    assert slow.given < 20  # What nobody takes in is not read: all that waits is a window.


def test_a_stream_that_cannot_be_read_on_is_cut(shell: Shell) -> None:
    assert shell.run("cat", stdin=Stream([b"a", b"b", None, b"c"]), timeout=20).stdout == b"ab"


def test_input_that_the_script_does_not_read(shell: Shell) -> None:
    assert shell.run("exit 4", stdin=bytes(8 << 20), timeout=60).status == 4


def test_what_stderr_has_is_shown_and_harmless(shell: Shell) -> None:
    stderr = shell.run(r"printf 'a\033[2Jb\r\tc\nd\342\200\256e\377' >&2", timeout=20).stderr
    assert stderr == "a\\x1b[2Jb\\r\tc\nd\\u202ee\\xff"


def test_stderr_is_bounded_and_the_rest_dropped(shell: Shell) -> None:
    done = shell.run("head -c 500000 /dev/zero | tr '\\0' x >&2; echo fine", timeout=20)
    assert done.stdout == b"fine\n"
    assert len(done.stderr) < 20_000
    assert done.stderr.endswith("[cut off]")


def test_output_up_to_the_limit(shell: Shell) -> None:
    assert len(shell.run("head -c 1000 /dev/zero", timeout=20, limit=1000).stdout) == 1000
    with pytest.raises(HostOutcomeUnknown, match="more than 1000 bytes"):
        shell.run("head -c 1001 /dev/zero", timeout=20, limit=1000)


@pytest.mark.parametrize("stream", ["", ">&2"])
def test_endless_output_is_cut_off(shell: Shell, stream: str) -> None:
    start = time.monotonic()
    with pytest.raises(HostOutcomeUnknown, match="was cut off"):
        shell.run(f"yes {stream}", timeout=60)
    assert time.monotonic() - start < 20
    assert shell.run("echo fine", timeout=20).stdout == b"fine\n"


def test_endless_noise_before_the_script_is_cut_off(tmp_path: Path, runner: Runner) -> None:
    server = Sshd(tmp_path / "sshd", extra="ForceCommand yes").start()
    try:
        runner.host("h", server)
        runner.trust(server.known())
        with SshHosts(runner.settings()) as hosts, pytest.raises(HostOutcomeUnknown, match="was cut off"):
            hosts.shell("h").run("true", timeout=60)
    finally:
        server.stop()


def test_noise_of_the_login_is_no_output(tmp_path: Path, runner: Runner) -> None:
    noise = "printf 'Welcome\\033[2J\\nhome'; echo Motd >&2; head -c 300000 /dev/zero"
    server = Sshd(tmp_path / "sshd", extra=f'ForceCommand {noise}; eval "$SSH_ORIGINAL_COMMAND"').start()
    try:
        runner.host("h", server)
        runner.trust(server.known())
        with SshHosts(runner.settings()) as hosts:
            done = hosts.shell("h").run("cat; echo out; echo err >&2; exit 5", stdin=b"in\n", timeout=20)
            assert (done.status, done.stdout, done.stderr) == (5, b"in\nout\n", "err\n")
    finally:
        server.stop()


def test_a_deadline_in_the_middle(hosts: SshHosts, shell: Shell, tmp_path: Path) -> None:
    connection = hosts.connection("h", time.monotonic() + 20)
    start = time.monotonic()
    with pytest.raises(HostOutcomeUnknown, match="did not end in time"):
        shell.run('echo > "$1"; exec sleep 30', str(tmp_path / "ran"), timeout=2)
    assert 1.9 < time.monotonic() - start < 3
    assert (tmp_path / "ran").exists()
    assert shell.run("echo fine", timeout=20).stdout == b"fine\n"
    assert hosts.connection("h", time.monotonic() + 20) is connection  # others on it are not disturbed


@pytest.mark.parametrize("what", [signal.SIGKILL, signal.SIGSTOP])
def test_a_connection_that_breaks_in_the_middle(tmp_path: Path, runner: Runner, what: signal.Signals) -> None:
    server = Sshd(tmp_path / "sshd").start()
    runner.host("h", server)
    runner.trust(server.known())
    stopped: list[int] = []
    try:
        with SshHosts(runner.settings()) as hosts, ThreadPoolExecutor(1) as pool:
            shell = hosts.shell("h")
            shell.run("true", timeout=20)
            ran = tmp_path / "ran"
            start = time.monotonic()
            running = pool.submit(shell.run, 'echo > "$1"; exec sleep 30', str(ran), timeout=5)
            while not ran.exists():
                assert time.monotonic() < start + 10
                time.sleep(0.01)
            stopped = server.sessions()
            for pid in stopped:
                os.kill(pid, what)
            with pytest.raises(HostOutcomeUnknown, match=r"broke|in time"):
                running.result(20)
            assert time.monotonic() - start < 6
            if what is signal.SIGKILL:  # a new connection is made where the old one ended
                assert shell.run("echo fine", timeout=20).stdout == b"fine\n"
        assert time.monotonic() - start < 9  # and closing does not wait for what hangs
    finally:
        server.stop()


def test_threads_share_one_connection(server: Sshd, hosts: SshHosts) -> None:
    before = (server.directory / "log").read_text().count("Accepted publickey")
    gate = threading.Barrier(16)

    def run(number: int) -> bytes:
        gate.wait(20)
        return hosts.shell("h").run("sleep 0.1; echo $1; cat", str(number), stdin=b"x", timeout=60).stdout

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(run, range(16))) == [b"%d\nx" % number for number in range(16)]
    assert (server.directory / "log").read_text().count("Accepted publickey") == before + 1


def test_what_is_too_long_or_has_a_nul_is_refused_before_it_is_sent(shell: Shell) -> None:
    with pytest.raises(ValueError, match="131071 bytes"):
        shell.run("true", "x" * 131_000, timeout=20)
    assert shell.run("true", "x" * 130_000, timeout=20).status == 0
    with pytest.raises(ValueError, match="NUL"):
        shell.run("true", "\0", timeout=20)


def test_nothing_runs_once_it_is_closed(hosts: SshHosts) -> None:
    shell = hosts.shell("h")
    shell.run("true", timeout=20)
    threads = threading.active_count()
    hosts.close()
    hosts.close()
    deadline = time.monotonic() + 10
    while threading.active_count() >= threads:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    with pytest.raises(HostUnreachable, match="are closed"):
        shell.run("true", timeout=20)


def test_a_connection_that_another_thread_has_ended_is_made_again(
    hosts: SshHosts, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between being found alive and being used it may be cut, by a deadline of another script."""
    shell.run("true", timeout=20)
    found = SshHosts.connection
    seen: list[Connection] = []

    def cut_behind(self: SshHosts, address: str, deadline: float) -> Connection:
        connection = found(self, address, deadline)
        if not seen:
            connection._cut()
        seen.append(connection)
        return connection

    monkeypatch.setattr(SshHosts, "connection", cut_behind)
    assert shell.run("echo there", timeout=20).stdout == b"there\n"
    assert len(seen) == 2 and seen[0] is not seen[1]
