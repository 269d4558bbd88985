"""An sshd that takes few sessions on a connection."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from etcdplan.hosts.ports import HostUnreachable
from etcdplan.transport.ssh import SshHosts
from tests.support.sshd import Runner, Sshd

pytestmark = [pytest.mark.bed, pytest.mark.timeout(120)]


@pytest.mark.parametrize("limit", [1, 3])
def test_with_fewer_sessions_commands_take_turns(tmp_path: Path, limit: int) -> None:
    server = Sshd(tmp_path / "sshd", extra=f"MaxSessions {limit}").start()
    try:
        runner = Runner(tmp_path / "runner")
        runner.host("h", server)
        runner.trust(server.known())
        with SshHosts(runner.settings()) as hosts, ThreadPoolExecutor(12) as pool:
            shell = hosts.shell("h")
            done = list(pool.map(lambda n: shell.run("sleep 0.1; echo $1", str(n), timeout=60), range(16)))
            assert [one.stdout for one in done] == [f"{n}\n".encode() for n in range(16)]
            assert hosts.connection("h", time.monotonic() + 20).alive
    finally:
        server.stop()


def test_without_any_session_it_is_named(tmp_path: Path) -> None:
    server = Sshd(tmp_path / "sshd", extra="MaxSessions 0").start()
    try:
        runner = Runner(tmp_path / "runner")
        runner.host("h", server)
        runner.trust(server.known())
        with (
            SshHosts(runner.settings()) as hosts,
            pytest.raises(HostUnreachable, match="does not open a session") as no,
        ):
            hosts.shell("h").run("true", timeout=20)
        assert "MaxSessions" in no.value.hint
    finally:
        server.stop()
