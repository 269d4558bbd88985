"""Servers and controllers for the tests of SSH."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from etcdplan.transport.ssh import SshHosts
from tests.support.sshd import Runner, Sshd


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """A server that the tests of a module share and do not change."""
    started = Sshd(tmp_path_factory.mktemp("sshd"), ("ed25519", "rsa", "ecdsa")).start()
    yield started
    started.stop()


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    """A controller that knows no host."""
    return Runner(tmp_path / "runner")


@pytest.fixture
def hosts(server: Sshd, runner: Runner) -> Iterator[SshHosts]:
    """The way to the server, which is called h."""
    runner.host("h", server)
    runner.trust(server.known())
    with SshHosts(runner.settings()) as hosts:
        yield hosts
