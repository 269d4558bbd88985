"""The subset of ssh_config that is understood, and that nothing in it runs a command."""

import getpass
import socket
from pathlib import Path

import pytest

from etcdplan.transport.ssh_config import Destination, SshConfigError, SshSettings


def read(tmp_path: Path, text: str, name: str = "h1", **options: object) -> Destination:
    file = tmp_path / "config"
    file.write_text(text)
    return SshSettings(config_file=file, **options).destination(name)  # type: ignore[arg-type]


def test_every_keyword(tmp_path: Path) -> None:
    destination = read(
        tmp_path,
        "Host h1\n HostName 10.0.0.1\n Port 2222\n User ops\n IdentityFile ~/k1\n IdentityFile /k2\n"
        " IdentitiesOnly yes\n IdentityAgent /agent\n ProxyJump a,user@b:22\n UserKnownHostsFile /u1 /u2\n"
        " GlobalKnownHostsFile /g\n HostKeyAlias Alias\n ConnectTimeout 3\n ServerAliveInterval 7\n",
    )
    assert destination == Destination(
        name="h1",
        host="10.0.0.1",
        port=2222,
        user="ops",
        alias="alias",
        jump=("a", "user@b:22"),
        identity_files=(Path("~/k1").expanduser(), Path("/k2")),
        identities_only=True,
        agent=Path("/agent"),
        known_hosts=(Path("/u1"), Path("/u2"), Path("/g")),
        connect_timeout=3,
        dial_timeout=3,
        keepalive=7,
    )


def test_without_a_configuration(tmp_path: Path) -> None:
    destination = read(tmp_path, "", agent=Path("/agent"))
    assert (destination.host, destination.port, destination.user) == ("h1", 22, getpass.getuser())
    assert Path("~/.ssh/known_hosts").expanduser() in destination.known_hosts
    assert Path("/etc/ssh/ssh_known_hosts") in destination.known_hosts
    assert Path("~/.ssh/id_ed25519").expanduser() in destination.identity_files
    assert destination.agent == Path("/agent")


def test_the_first_value_holds_and_others_hosts_do_not_count(tmp_path: Path) -> None:
    text = "Host h2\n Port 1\nHost h*\n Port 2\nHost h1\n Port 3\n"
    assert read(tmp_path, text).port == 2


def test_the_callers_user_and_port_outweigh_it(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("User a\nPort 1\n")
    destination = SshSettings(config_file=tmp_path / "config").destination("h1", user="b", port=2)
    assert (destination.user, destination.port) == ("b", 2)


@pytest.mark.parametrize(
    "line", ["Match exec touch\\ {ran}", 'Match host h1 exec "touch {ran}"', "match EXEC=touch"]
)
def test_a_match_that_would_run_a_command_is_refused(tmp_path: Path, line: str) -> None:
    with pytest.raises(SshConfigError, match=r"config:2 has a Match with exec"):
        read(tmp_path, f"Port 1\n{line.format(ran=tmp_path / 'ran')}\n Port 2\n", "h9")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("line", ["ProxyCommand touch {ran}", "RevokedHostKeys /some/file"])
def test_what_cannot_be_ignored_is_refused_for_its_host_only(tmp_path: Path, line: str) -> None:
    text = f"Host h1\n {line.format(ran=tmp_path / 'ran')}\n"
    with pytest.raises(SshConfigError, match=f"sets {line.split()[0].lower()} for h1"):
        read(tmp_path, text)
    assert read(tmp_path, text, "h2").host == "h2"
    assert not (tmp_path / "ran").exists()


def test_names_are_not_looked_up_to_find_others(tmp_path: Path) -> None:
    with pytest.raises(SshConfigError, match=r"config:1 sets CanonicalizeHostname"):
        read(tmp_path, "CanonicalizeHostname yes\nCanonicalDomains example.com\n")


def test_what_only_widens_trust_or_runs_afterwards_is_ignored(tmp_path: Path) -> None:
    text = (
        f"StrictHostKeyChecking no\nPermitLocalCommand yes\nLocalCommand touch {tmp_path}/ran\n"
        f"KnownHostsCommand /usr/bin/touch {tmp_path}/ran\nForwardAgent yes\nCiphers 3des-cbc\nProxyCommand none\n"
    )
    assert read(tmp_path, text).host == "h1"
    assert not (tmp_path / "ran").exists()


def test_includes(tmp_path: Path) -> None:
    (tmp_path / "one.conf").write_text("Host h1\n Port 1\n")
    (tmp_path / "two.conf").write_text("Host h2\n Port 2\n")
    text = f"Include {tmp_path}/*.conf\nUser ops\nHost h3\n Port 3\n"
    for number in (1, 2, 3):
        destination = read(tmp_path, text, f"h{number}")
        assert (destination.port, destination.user) == (number, "ops")


def test_an_include_that_hides_a_command_is_refused(tmp_path: Path) -> None:
    (tmp_path / "one.conf").write_text("Match exec true\n Port 1\n")
    with pytest.raises(SshConfigError, match=r"one\.conf:1 has a Match with exec"):
        read(tmp_path, f"Include {tmp_path}/one.conf\n")


def test_includes_below_a_condition_or_in_a_circle_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SshConfigError, match=r"config:2 includes"):
        read(tmp_path, f"Host h1\n Include {tmp_path}/x\n")
    with pytest.raises(SshConfigError, match="too deeply"):
        read(tmp_path, f"Include {tmp_path}/config\n")


@pytest.mark.parametrize("name", ["", "a b", "h*", "h1,h2", "!h1", "|1|a|b", "h\n1"])
def test_a_name_that_is_a_pattern_is_no_host(tmp_path: Path, name: str) -> None:
    with pytest.raises(SshConfigError, match="not a host's name"):
        read(tmp_path, "", name)


@pytest.mark.parametrize(
    "text", ["Port x\n", "Port\n", "ServerAliveInterval 99999999\n", "UserKnownHostsFile %h/known\n"]
)
def test_what_cannot_be_read_is_an_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(SshConfigError):
        read(tmp_path, text)


def test_a_configuration_that_is_named_must_exist(tmp_path: Path) -> None:
    with pytest.raises(SshConfigError, match="No such file"):
        SshSettings(config_file=tmp_path / "none")


@pytest.mark.parametrize(
    ("text", "user", "host", "port"),
    [
        ("b", None, "b", 22),
        ("ops@b:2222", "ops", "b", 2222),
        ("ssh://ops@b:2222/", "ops", "b", 2222),
        ("[fe80::1]:2222", None, "fe80::1", 2222),
    ],
)
def test_hops(tmp_path: Path, text: str, user: str | None, host: str, port: int) -> None:
    (tmp_path / "config").touch()
    hop = SshSettings(config_file=tmp_path / "config").hop(text)
    assert (hop.user, hop.host, hop.port) == (user or getpass.getuser(), host, port)


def test_what_is_no_hop(tmp_path: Path) -> None:
    (tmp_path / "config").touch()
    with pytest.raises(SshConfigError, match="ProxyJump"):
        SshSettings(config_file=tmp_path / "config").hop("a:b:c")


def test_settings_come_from_the_runners_environment(tmp_path: Path) -> None:
    (tmp_path / "config").touch()
    environ = {
        "ETCDPLAN_SSH_CONFIG": str(tmp_path / "config"),
        "ETCDPLAN_KNOWN_HOSTS": "/a:/b",
        "ETCDPLAN_SUDO_PASSWORD_FILE": "/c",
        "SSH_AUTH_SOCK": "/d",
    }
    settings = SshSettings.from_environment(environ)
    assert settings.sudo_password_file == Path("/c")
    destination = settings.destination("h1")
    assert destination.known_hosts == (Path("/a"), Path("/b"))
    assert destination.known_hosts_needed
    assert destination.agent == Path("/d")


def test_nobody_is_asked_for_this_machines_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may take the resolver many seconds, and nothing needs it but a token."""

    def unexpected(*_: object) -> str:
        raise AssertionError("the resolver is asked")

    monkeypatch.setattr(socket, "getfqdn", unexpected)
    monkeypatch.setattr(socket, "getaddrinfo", unexpected)
    destination = read(tmp_path, "HostName 10.0.0.1\nIdentityFile ~/k\nProxyJump b\nUserKnownHostsFile /u\n")
    assert destination.identity_files == (Path("~/k").expanduser(),)


def test_tokens_of_an_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getfqdn", lambda: "runner")
    destination = read(tmp_path, "HostName 10.0.0.1\nIdentityFile /keys/%h-%r\nUser ops\n")
    assert destination.identity_files == (Path("/keys/10.0.0.1-ops"),)
