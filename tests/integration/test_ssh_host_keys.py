"""Which hosts are trusted, on a real sshd, and that nobody else is shown a credential."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from etcdplan.hosts.ports import HostUnreachable
from etcdplan.transport.ssh import SshHosts
from etcdplan.transport.ssh_known_hosts import HostKeyRefused
from tests.support.ssh_fixtures import runner, server
from tests.support.sshd import OWN_USER, Runner, Sshd, keygen, make_key, public

__all__ = ["runner", "server"]
pytestmark = [pytest.mark.bed, pytest.mark.timeout(120)]


@contextmanager
def refused(server: Sshd, runner: Runner, match: str) -> Iterator[list[HostKeyRefused]]:
    """Expect that the host's key is refused, and that the server saw no attempt to log in."""
    log, found = server.directory / "log", []
    before = len(log.read_text())
    with pytest.raises(HostKeyRefused, match=match) as error:
        yield found
    found.append(error.value)
    assert error.value.exit_code == 8
    deadline = time.monotonic() + 10
    while "[preauth]" not in (seen := log.read_text()[before:]):
        assert time.monotonic() < deadline, seen
        time.sleep(0.02)
    assert "[preauth]" in seen
    for attempt in ("userauth", "Accepted", "Failed", "Postponed", "authenticating user"):
        assert attempt not in seen


def who(runner: Runner, name: str = "h") -> str:
    with SshHosts(runner.settings()) as hosts:
        return hosts.shell(name).run("echo fine", timeout=20).stdout.decode()


def test_the_refusal_check_would_see_a_credential(server: Sshd, runner: Runner) -> None:
    runner.host("h", server, user=f"{OWN_USER}x")
    runner.trust(server.known())
    with pytest.raises(HostUnreachable, match="does not let this machine log in"):
        who(runner)
    deadline = time.monotonic() + 10
    while "invalid user" not in (server.directory / "log").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("index", [0, 1])
def test_a_known_key_of_either_type_is_negotiated(server: Sshd, runner: Runner, index: int) -> None:
    runner.host("h", server)
    runner.trust(server.known(keys=[server.host_keys[index]]))
    assert who(runner) == "fine\n"


def test_hashed_and_aliased(server: Sshd, runner: Runner) -> None:
    runner.host("h", server)
    runner.host("aliased", server, more="HostKeyAlias Member1")
    runner.trust(
        server.known(keys=server.host_keys[:1]) + server.known(name="member1", keys=server.host_keys[1:2])
    )
    keygen("-H", "-f", str(runner.known_hosts))
    assert who(runner) == "fine\n"
    assert who(runner, "aliased") == "fine\n"


def test_an_unknown_host(server: Sshd, runner: Runner) -> None:
    runner.host("h", server)
    with refused(server, runner, "is unknown") as found:
        who(runner)
    fingerprint = keygen("-lf", f"{server.host_keys[0]}.pub").split()[1]
    message, hint = found[0].message, found[0].hint
    assert f"[{server.address}]:{server.port}" in message
    assert fingerprint in message
    assert str(runner.known_hosts) in message
    # The remedy works as it is told.
    line = re.search(r'add the line "(.*)"', hint)
    assert line
    runner.trust(line[1] + "\n")
    assert who(runner) == "fine\n"
    assert runner.known_hosts.read_text() == line[1] + "\n"


def test_a_changed_key(server: Sshd, runner: Runner, tmp_path: Path) -> None:
    other = make_key(tmp_path / "other")
    runner.host("h", server)
    runner.trust(server.known(keys=[other]))
    with refused(server, runner, "has changed") as found:
        who(runner)
    assert f"{runner.known_hosts}:1" in found[0].message
    for key in (other, server.host_keys[0]):
        assert keygen("-lf", f"{key}.pub").split()[1] in found[0].message


def test_a_revoked_key(server: Sshd, runner: Runner) -> None:
    runner.host("h", server)
    key = server.host_keys[:1]
    runner.trust(server.known(keys=key) + server.known(marker="@revoked ", name="*", keys=key))
    with refused(server, runner, "is revoked"):
        who(runner)


def test_a_type_that_is_not_used_any_more(server: Sshd, runner: Runner) -> None:
    runner.host("h", server)
    runner.trust(server.known(keys=server.host_keys[2:]))
    with refused(server, runner, r"unknown.*only ecdsa-sha2-nistp256"):
        who(runner)


def test_ssh_config_cannot_weaken_it(server: Sshd, runner: Runner) -> None:
    runner.host("h", server, more="StrictHostKeyChecking no\nNoHostAuthenticationForLocalhost yes")
    with refused(server, runner, "is unknown"):
        who(runner)


def test_the_runners_known_hosts_stand_in_the_place_of_all_others(
    server: Sshd, runner: Runner, tmp_path: Path
) -> None:
    runner.host("h", server)
    runner.trust(server.known())
    (tmp_path / "own").touch()
    with (
        refused(server, runner, f"{tmp_path}/own has no"),
        SshHosts(runner.settings(known_hosts=(tmp_path / "own",))) as hosts,
    ):
        hosts.shell("h").run("true", timeout=20)
    with (
        SshHosts(runner.settings(known_hosts=(tmp_path / "none",))) as hosts,
        pytest.raises(HostKeyRefused, match="not exist"),
    ):
        hosts.shell("h").run("true", timeout=20)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_key(tmp_path_factory.mktemp("authority") / "ca")


@contextmanager
def certified(directory: Path, authority: Path, *options: str, kind: str = "ed25519") -> Iterator[Sshd]:
    """Run a server whose key has a certificate of `authority`."""
    server = Sshd(directory, (kind,))
    options = options if "-n" in options else (*options, "-n", server.address)
    host = () if "user" in options else ("-h",)
    keygen(
        "-q",
        "-s",
        str(authority),
        "-I",
        "cert",
        *host,
        *(o for o in options if o != "user"),
        f"{server.host_keys[0]}.pub",
    )
    server.extra = f"HostCertificate {server.host_keys[0]}-cert.pub"
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.mark.parametrize("kind", ["ed25519", "rsa"])
@pytest.mark.parametrize("authority_kind", ["ed25519", "rsa"])
def test_a_host_certificate(tmp_path: Path, runner: Runner, kind: str, authority_kind: str) -> None:
    authority = make_key(tmp_path / "ca", authority_kind)
    with certified(tmp_path / "sshd", authority, "-V", "-1h:+1h", kind=kind) as server:
        runner.host("h", server)
        runner.trust(f"@cert-authority [127.*]:* {public(authority)}\n")
        assert who(runner) == "fine\n"


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (("-V", "-2h:-1h"), "it has expired"),
        (("-V", "+1h:+2h"), "it is not valid yet"),
        (("-n", "other,*.example.com"), "it is for other, "),
        (("-n", "!127.0.0.1,other"), "it is for "),
        (("user",), "it is a user's certificate"),
        (("-O", "critical:some@example.com=1"), "critical options"),
    ],
)
def test_a_host_certificate_that_proves_nothing(
    tmp_path: Path, runner: Runner, authority: Path, options: tuple[str, ...], match: str
) -> None:
    with certified(tmp_path / "sshd", authority, *options) as server:
        runner.host("h", server)
        runner.trust(f"@cert-authority * {public(authority)}\n")
        with refused(server, runner, match):
            who(runner)


def test_a_host_certificate_of_somebody_else(tmp_path: Path, runner: Runner, authority: Path) -> None:
    other = make_key(tmp_path / "other")
    with certified(tmp_path / "sshd", other) as server:
        runner.host("h", server)
        runner.trust(f"@cert-authority * {public(authority)}\n")
        with refused(server, runner, "of an authority that is not trusted for it"):
            who(runner)
        runner.trust(f"@cert-authority other.example.com {public(other)}\n")
        with refused(server, runner, "of an authority that is not trusted for it"):
            who(runner)


@pytest.mark.parametrize("revoked", ["authority", "key"])
def test_revocation_outweighs_a_certificate(
    tmp_path: Path, runner: Runner, authority: Path, revoked: str
) -> None:
    with certified(tmp_path / "sshd", authority) as server:
        runner.host("h", server)
        key = authority if revoked == "authority" else server.host_keys[0]
        runner.trust(f"@cert-authority * {public(authority)}\n@revoked * {public(key)}\n")
        with refused(server, runner, "is revoked"):
            who(runner)


def test_a_plain_key_is_enough_where_an_authority_is_known_too(
    server: Sshd, runner: Runner, authority: Path
) -> None:
    runner.host("h", server)
    runner.trust(f"@cert-authority * {public(authority)}\n" + server.known())
    assert who(runner) == "fine\n"


def test_a_small_rsa_key_is_refused(tmp_path: Path, runner: Runner) -> None:
    server = Sshd(tmp_path / "sshd", ())
    server.host_keys = [make_key(tmp_path / "small", "rsa", "-b", "1024")]
    server.extra = "RequiredRSASize 1024"
    server.start()
    try:
        runner.host("h", server)
        runner.trust(server.known())
        with refused(server, runner, "1024 bits"):
            who(runner)
    finally:
        server.stop()
