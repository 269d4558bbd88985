"""How a host is reached over SSH: the runner's ssh_config, read without ever running a command that it names.

`docs/ssh.md` lists the keywords.
"""

import getpass
import glob
import os
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from etcdplan.errors import EtcdplanError
from etcdplan.transport.ssh_paramiko import paramiko

CONFIG_VARIABLE = "ETCDPLAN_SSH_CONFIG"
KNOWN_HOSTS_VARIABLE = "ETCDPLAN_KNOWN_HOSTS"
SUDO_PASSWORD_VARIABLE = "ETCDPLAN_SUDO_PASSWORD_FILE"  # noqa: S105  the name of a variable

_USER_KNOWN_HOSTS = "~/.ssh/known_hosts ~/.ssh/known_hosts2"
_GLOBAL_KNOWN_HOSTS = "/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2"
_IDENTITIES = ("~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa")
_REFUSED = {
    "proxycommand": "commands are not run; a way through another host is ProxyJump's",
    "revokedhostkeys": "keys are revoked by @revoked lines in known_hosts",
}
"""What would change where a connection goes, or whom it trusts, if it were ignored."""
_SETTING = re.compile(r"(\w+)(?:\s*=\s*|\s+)(.+)")
_MAX_INCLUDES = 16
KEEPALIVE = 5.0
"""Seconds; three that go unanswered end a connection. A host that died is thus noticed within 20 s."""
DIAL_TIMEOUT = 2.5
"""Seconds until a host that drops packets counts as unreachable: Linux sends its SYN at 0 s and 1 s, then at 3 s."""


class SshConfigError(EtcdplanError):
    """The SSH configuration of the runner cannot be used."""


@dataclass(frozen=True, slots=True)
class Destination:
    """Where and how to connect. `name` is what the host was asked for by; times are seconds."""

    name: str
    host: str
    port: int
    user: str
    alias: str = ""
    """The name that host keys are looked up under instead of host and port."""
    jump: tuple[str, ...] = ()
    identity_files: tuple[Path, ...] = ()
    identities_only: bool = False
    agent: Path | None = None
    known_hosts: tuple[Path, ...] = ()
    known_hosts_needed: bool = False
    connect_timeout: float = 10.0
    dial_timeout: float = 10.0
    keepalive: float = 5.0


@dataclass(frozen=True, slots=True)
class SshSettings:
    """What comes from the runner and never from a spec. None of `config_file`: the user's own, if there is one.

    `known_hosts`, when not empty, stand in the place of all other known_hosts files and must exist.
    """

    config_file: Path | None = None
    known_hosts: tuple[Path, ...] = ()
    sudo_password_file: Path | None = None
    agent: Path | None = None
    connect_timeout: float = 10.0
    config: paramiko.SSHConfig = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Read the configuration; raise `SshConfigError`."""
        object.__setattr__(self, "config", _read(self.config_file))

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> "SshSettings":
        """Return the settings that the `ETCDPLAN_…` variables and `SSH_AUTH_SOCK` give; raise `SshConfigError`."""

        def path(variable: str) -> Path | None:
            return Path(environ[variable]).expanduser() if environ.get(variable) else None

        known = environ.get(KNOWN_HOSTS_VARIABLE, "")
        return cls(
            config_file=path(CONFIG_VARIABLE),
            known_hosts=tuple(Path(file).expanduser() for file in known.split(os.pathsep) if file),
            sudo_password_file=path(SUDO_PASSWORD_VARIABLE),
            agent=path("SSH_AUTH_SOCK"),
        )

    def destination(self, name: str, *, user: str | None = None, port: int | None = None) -> Destination:
        """Say how the host called `name` is reached; `user` and `port` outweigh the configuration.

        Raise `SshConfigError` for what is not understood and cannot be ignored.
        """
        # Patterns of other hosts must not match a name that was made up to fit them.
        if not name or re.search(r"[\s*?!,|]", name):
            raise SshConfigError(f"{name!r} is not a host's name or address.")
        try:
            options = self.config.lookup(name)
            user = user or options.get("user") or getpass.getuser()
        except (paramiko.ConfigParseError, paramiko.SSHException, ValueError, KeyError, OSError) as error:
            raise SshConfigError(f"The SSH configuration cannot be used for {name}: {error}.") from error
        for keyword, reason in _REFUSED.items():
            if options.get(keyword) not in (None, "none", "no"):
                raise SshConfigError(
                    f"The SSH configuration sets {keyword} for {name}, which is not supported: {reason}.",
                    hint=f"Change it, or name another configuration in {CONFIG_VARIABLE}.",
                )

        def number(keyword: str, default: float) -> float:
            value = options.get(keyword, "")
            if value and not re.fullmatch(r"\d{1,6}", value):
                raise SshConfigError(
                    f"The SSH configuration's {keyword} for {name} is not a number: {value!r}."
                )
            return float(value or default)

        identities = tuple(options.get("identityfile", _IDENTITIES))
        files = self.known_hosts or tuple(
            path
            for keyword, default in (
                ("userknownhostsfile", _USER_KNOWN_HOSTS),
                ("globalknownhostsfile", _GLOBAL_KNOWN_HOSTS),
            )
            for path in _paths(options.get(keyword, default))
        )
        jump = options.get("proxyjump", "none")
        return Destination(
            name=name,
            host=options["hostname"],
            port=port or int(number("port", 22)),
            user=user,
            alias=options.get("hostkeyalias", "").lower(),
            jump=() if jump == "none" else tuple(hop.strip() for hop in jump.split(",")),
            identity_files=tuple(path for text in identities if text != "none" for path in _paths(text)),
            identities_only=options.get("identitiesonly", "no") == "yes",
            agent=self._agent(options.get("identityagent")),
            known_hosts=files,
            known_hosts_needed=bool(self.known_hosts),
            connect_timeout=number("connecttimeout", self.connect_timeout) or self.connect_timeout,
            dial_timeout=number("connecttimeout", DIAL_TIMEOUT) or DIAL_TIMEOUT,
            keepalive=number("serveraliveinterval", KEEPALIVE),
        )

    def hop(self, text: str) -> Destination:
        """Return the destination that one part of ProxyJump (`[user@]host[:port]`) names."""
        found = re.fullmatch(r"(?:ssh://)?(?:([^@]+)@)?(?:\[([^\]]+)\]|([^:\[\]]+))(?::(\d{1,5}))?/?", text)
        if found is None:
            raise SshConfigError(f"ProxyJump names {text!r}, which is not [user@]host[:port].")
        user, bracketed, plain, port = found.groups()
        return self.destination(bracketed or plain, user=user, port=int(port) if port else None)

    def _agent(self, option: str | None) -> Path | None:
        if option is None or option == "SSH_AUTH_SOCK":
            return self.agent
        if option == "none":
            return None
        if option.startswith("$"):
            value = os.environ.get(option.removeprefix("$").strip("{}"))
            return Path(value) if value else None
        (path,) = _paths(option) or (None,)
        return path


class _Config(paramiko.SSHConfig):  # type: ignore[misc]  # paramiko has no types
    def _tokenize(self, config: object, target_hostname: object, key: object, value: str) -> str:
        """Replace tokens; where there is none, do not ask the resolver for this machine's full name, as paramiko does.

        It asks without a deadline, and for each host anew.
        """
        if "%" not in value:
            return value
        replaced: str = super()._tokenize(config, target_hostname, key, value)
        return replaced


def _paths(text: str) -> tuple[Path, ...]:
    if "%" in text or "${" in text:
        raise SshConfigError(f"The SSH configuration's path {text!r} has a token that is not supported.")
    try:
        return tuple(
            Path(part).expanduser() for part in shlex.split(text) if part not in ("none", "/dev/null")
        )
    except ValueError as error:
        raise SshConfigError(f"The SSH configuration's path {text!r} cannot be read: {error}.") from error


def _read(file: Path | None) -> paramiko.SSHConfig:
    given = file is not None
    lines = list(_lines(file or Path("~/.ssh/config").expanduser(), missing_ok=not given, depth=0))
    try:
        config: paramiko.SSHConfig = _Config.from_text("\n".join(lines))
        return config
    except (paramiko.ConfigParseError, paramiko.SSHException, ValueError) as error:
        raise SshConfigError(f"The SSH configuration cannot be read: {error}.") from error


def _lines(file: Path, *, missing_ok: bool, depth: int) -> Iterator[str]:
    """Yield the lines of a configuration with what it includes; raise `SshConfigError` for what would run a command."""
    try:
        text = file.read_text("utf-8", "surrogateescape")
    except OSError as error:
        if missing_ok and isinstance(error, FileNotFoundError):
            return
        raise SshConfigError(f"The SSH configuration {file} cannot be read: {error.strerror}.") from error
    conditional = False
    for number, line in enumerate(text.splitlines(), 1):
        setting = _SETTING.match(line.strip())
        keyword, value = (setting[1].lower(), setting[2]) if setting else ("", "")
        if keyword == "match" and re.search(r"(?i)\bexec\b", value):
            raise SshConfigError(
                f"{file}:{number} has a Match with exec, and no command is run to find out whether it applies.",
                hint=f"Name a configuration without it in {CONFIG_VARIABLE}.",
            )
        if keyword == "canonicalizehostname" and value.lower() != "no":
            raise SshConfigError(
                f"{file}:{number} sets CanonicalizeHostname, which is not supported: names are taken as they stand.",
                hint=f"Name a configuration without it in {CONFIG_VARIABLE}.",
            )
        if keyword != "include":
            conditional = conditional or keyword in ("host", "match")
            yield line
            continue
        if conditional or depth == _MAX_INCLUDES:
            raise SshConfigError(
                f"{file}:{number} includes a file below Host or Match, or too deeply, which is not supported.",
                hint=f"Include it at the beginning of the file, or name another configuration in {CONFIG_VARIABLE}.",
            )
        for pattern in _paths(value):
            at = Path("~/.ssh").expanduser() / pattern
            for found in sorted(glob.glob(str(at))):  # noqa: PTH207  it may be absolute
                yield from _lines(Path(found), missing_ok=False, depth=depth + 1)
                yield "Host *"
