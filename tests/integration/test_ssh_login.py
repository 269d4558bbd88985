"""How the controller logs in, and goes through other hosts."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from etcdplan.hosts.ports import HostUnreachable
from etcdplan.transport.ssh import SshHosts
from etcdplan.transport.ssh_config import SshConfigError, SshSettings
from etcdplan.transport.ssh_known_hosts import HostKeyRefused
from tests.support.ssh_fixtures import runner, server
from tests.support.sshd import Runner, Sshd, keygen, make_key, public

__all__ = ["runner", "server"]
pytestmark = [pytest.mark.bed, pytest.mark.timeout(120)]


def fine(settings: SshSettings, name: str = "h") -> bool:
    with SshHosts(settings) as hosts:
        return hosts.shell(name).run("echo fine", timeout=20).stdout == b"fine\n"


@contextmanager
def agent(tmp_path: Path, *keys: Path) -> Iterator[Path]:
    """Run an SSH agent with some keys."""
    path = tmp_path / f"agent{len(list(tmp_path.iterdir()))}"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(path)], stdout=subprocess.PIPE)
    try:
        assert process.stdout
        process.stdout.readline()  # it says where it is once it is there
        for key in keys:
            environ = {**os.environ, "SSH_AUTH_SOCK": str(path)}
            subprocess.run(["ssh-add", "-q", str(key)], env=environ, check=True, capture_output=True)
        yield path
    finally:
        process.kill()
        process.communicate()


def test_a_key_that_is_not_authorized(server: Sshd, runner: Runner, tmp_path: Path) -> None:
    other = make_key(tmp_path / "other")
    runner.host("h", server, key=other)
    runner.trust(server.known())
    with pytest.raises(HostUnreachable, match="does not let this machine log in") as error:
        fine(runner.settings())
    assert keygen("-lf", str(other)).split()[1] in error.value.message
    assert error.value.exit_code == 8


def test_no_key_at_all(server: Sshd, runner: Runner, tmp_path: Path) -> None:
    runner.host("h", server, key=tmp_path / "none")
    runner.trust(server.known())
    with pytest.raises(HostUnreachable, match="there is no key to show"):
        fine(runner.settings())


@pytest.mark.parametrize("content", ["not a key", ""])
def test_a_file_that_is_no_key(server: Sshd, runner: Runner, tmp_path: Path, content: str) -> None:
    (tmp_path / "key").write_text(content)
    runner.host("h", server, key=tmp_path / "key")
    runner.trust(server.known())
    with pytest.raises(HostUnreachable, match="not a key of a known type"):
        fine(runner.settings())


@pytest.mark.parametrize("kind", ["rsa", "ecdsa", "ed25519"])
def test_types_of_keys_in_files_and_in_an_agent(
    tmp_path: Path, server: Sshd, runner: Runner, kind: str
) -> None:
    key = make_key(tmp_path / "key", kind)
    with (server.directory / "authorized_keys").open("a") as file:
        file.write(public(key) + "\n")
    runner.host("h", server, key=key)
    runner.host("by-agent", server, key=tmp_path / "none")
    runner.trust(server.known())
    assert fine(runner.settings())
    with agent(tmp_path, key) as path:
        assert fine(runner.settings(agent=path), "by-agent")


@pytest.mark.parametrize("kind", ["rsa", "ecdsa"])
@pytest.mark.parametrize("form", ["PEM", "PKCS8"])
def test_keys_in_older_forms(tmp_path: Path, server: Sshd, runner: Runner, kind: str, form: str) -> None:
    key = make_key(tmp_path / "key", kind, "-m", form)
    with (server.directory / "authorized_keys").open("a") as file:
        file.write(public(key) + "\n")
    runner.host("h", server, key=key)
    runner.trust(server.known())
    assert fine(runner.settings())


def test_an_encrypted_key_is_the_agents_task(tmp_path: Path, server: Sshd, runner: Runner) -> None:
    key = tmp_path / "key"
    key.write_bytes(server.user_key.read_bytes())
    key.chmod(0o600)
    keygen("-p", "-q", "-P", "", "-N", "passphrase", "-f", str(key))
    runner.host("h", server, key=key)
    runner.trust(server.known())
    with pytest.raises(HostUnreachable, match=r"is encrypted \(add it to an agent: ssh-add\)"):
        fine(runner.settings())
    with agent(tmp_path, server.user_key) as path:
        assert fine(runner.settings(agent=path))


def test_only_the_identities_that_are_named(tmp_path: Path, server: Sshd, runner: Runner) -> None:
    others = [make_key(tmp_path / f"other{number}") for number in range(7)]
    Path(f"{tmp_path}/named.pub").write_text(public(server.user_key))
    runner.host("h", server, key=tmp_path / "named", more="IdentitiesOnly yes")
    runner.host("none", server, key=tmp_path / "named", more="IdentityAgent none")
    runner.host("other", server, key=others[0], more="IdentitiesOnly yes")
    runner.trust(server.known())
    with agent(tmp_path, *others, server.user_key) as path:
        # The key of the named file comes before the seven that would use up the attempts.
        assert fine(runner.settings(agent=path))
    with agent(tmp_path, server.user_key) as path:
        for name in ("none", "other"):
            with pytest.raises(HostUnreachable, match="does not let this machine log in"):
                fine(runner.settings(agent=path), name)


def test_an_agent_that_is_not_there(tmp_path: Path, server: Sshd, runner: Runner) -> None:
    runner.host("h", server)
    runner.trust(server.known())
    assert fine(runner.settings(agent=tmp_path / "gone"))


def test_an_agent_that_says_nothing(tmp_path: Path, server: Sshd, runner: Runner) -> None:
    runner.host("h", server)
    runner.trust(server.known())
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "silent"))
        silent.listen()
        start = time.monotonic()
        assert fine(runner.settings(agent=tmp_path / "silent"))
        assert time.monotonic() - start < 5


def test_a_user_certificate(tmp_path: Path, runner: Runner) -> None:
    ca, key = make_key(tmp_path / "ca"), make_key(tmp_path / "key")
    server = Sshd(tmp_path / "sshd")
    (server.directory / "authorized_keys").write_text(f"cert-authority {public(ca)}\n")
    principal = runner.settings().destination("h").user
    keygen("-q", "-s", str(ca), "-I", "me", "-n", principal, f"{key}.pub")
    server.start()
    try:
        runner.host("h", server, key=key)
        runner.host("by-agent", server, key=tmp_path / "none")
        runner.trust(server.known())
        assert fine(runner.settings())
        with agent(tmp_path, key) as path:
            assert fine(runner.settings(agent=path), "by-agent")
    finally:
        server.stop()


@pytest.fixture(scope="module")
def jump(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    started = Sshd(tmp_path_factory.mktemp("jump")).start()
    yield started
    started.stop()


def test_over_two_other_hosts(server: Sshd, jump: Sshd, runner: Runner) -> None:
    runner.host("a", jump)
    runner.host("b", server)
    runner.host("h", server, more="ProxyJump a,b")
    runner.trust(server.known() + jump.known())
    log = jump.directory / "log"
    before = log.read_text().count("Accepted publickey")
    with SshHosts(runner.settings()) as hosts:
        assert hosts.shell("h").run("cat", stdin=b"x" * 100_000, timeout=20).stdout == b"x" * 100_000
        assert hosts.shell("a").run("echo fine", timeout=20).stdout == b"fine\n"
    assert log.read_text().count("Accepted publickey") == before + 1  # `a` itself shares the connection


@pytest.mark.parametrize("unknown", ["a", "h"])
def test_every_hop_is_verified(server: Sshd, jump: Sshd, runner: Runner, unknown: str) -> None:
    runner.host("a", jump)
    runner.host("h", server, more="ProxyJump a")
    runner.trust(jump.known() if unknown == "h" else server.known())
    culprit = jump if unknown == "a" else server
    with pytest.raises(HostKeyRefused, match=rf"\[{culprit.address}\]:{culprit.port} is unknown"):
        fine(runner.settings())


def test_a_hop_that_does_not_reach_further(server: Sshd, jump: Sshd, runner: Runner) -> None:
    runner.host("a", jump)
    runner.config += "Host h\n HostName 127.0.0.1\n Port 1\n ProxyJump a\n"
    runner.trust(jump.known())
    with pytest.raises(HostUnreachable, match=r"a does not open a connection to 127\.0\.0\.1 port 1"):
        fine(runner.settings())


def test_hops_in_a_circle(server: Sshd, runner: Runner) -> None:
    runner.host("a", server, more="ProxyJump b")
    runner.host("b", server, more="ProxyJump a")
    with pytest.raises(SshConfigError, match="circle"):
        fine(runner.settings(), "a")
