"""A real sshd on loopback, with keys of its own, and accounts for it."""

import base64
import contextlib
import ipaddress
import itertools
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from etcdplan.transport.ssh_config import SshSettings

SSHD = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin") or "/usr/sbin/sshd"
OWN_USER = pwd.getpwuid(os.geteuid()).pw_name
_PATH = "/usr/local/bin:/usr/bin:/bin"
_names = itertools.count()
_addresses = random.SystemRandom()


def free_address() -> tuple[str, int]:
    """Return a loopback address that nobody uses, and a free port there."""
    address = str(ipaddress.ip_address("127.0.0.0") + _addresses.randrange(1 << 16, (1 << 24) - 2))
    with socket.socket() as listener:
        listener.bind((address, 0))
        return address, listener.getsockname()[1]


def keygen(*arguments: str) -> str:
    """Run ssh-keygen."""
    return subprocess.run(
        ["ssh-keygen", *arguments], check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL
    ).stdout


def make_key(path: Path, kind: str = "ed25519", *options: str) -> Path:
    """Make a key pair without a passphrase."""
    keygen("-q", "-t", kind, "-N", "", "-C", "", "-f", str(path), *options)
    return path


def public(key: Path) -> str:
    """Return `TYPE BASE64` of a key pair."""
    return Path(f"{key}.pub").read_text().strip()


def blob(key: Path) -> bytes:
    """Return the wire form of a public key."""
    return base64.b64decode(public(key).split()[1])


@dataclass
class Sshd:
    """A server whose host keys are `host_keys` and that lets `user_key` in. Everything lies in `directory`."""

    directory: Path
    host_key_kinds: Sequence[str] = ("ed25519",)
    extra: str = ""
    address: str = ""
    port: int = 0
    process: subprocess.Popen[bytes] | None = None
    host_keys: list[Path] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        self.address, self.port = free_address()
        self.host_keys = [make_key(self.directory / f"host_{kind}", kind) for kind in self.host_key_kinds]
        self.user_key = make_key(self.directory / "user_key")
        (self.directory / "authorized_keys").write_text(public(self.user_key) + "\n")
        (self.directory / "authorized_keys").chmod(0o644)

    def start(self) -> "Sshd":
        """Start the server and wait until it answers."""
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        sudo = self.directory / "bin/sudo"
        if os.geteuid() != 0 and not sudo.exists():
            # Without root the own account stands for it.
            sudo.parent.mkdir()
            sudo.write_text('#!/bin/sh\nwhile [ "$1" != -- ]; do shift; done; shift; exec "$@"\n')
            sudo.chmod(0o755)
        config = self.directory / "sshd_config"
        config.write_text(
            f"{self.extra}\nListenAddress {self.address}:{self.port}\nPidFile none\nUsePAM no\nStrictModes no\n"
            "PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n"
            f"AuthorizedKeysFile {self.directory}/authorized_keys .ssh/test_keys\nSetEnv PATH={sudo.parent}:{_PATH}\n"
            + "".join(f"HostKey {key}\n" for key in self.host_keys)
        )
        self.process = subprocess.Popen(
            [SSHD, "-D", "-f", str(config), "-E", str(self.directory / "log")], start_new_session=True
        )
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection((self.address, self.port), 1).close()
                return self
            except OSError:
                assert self.process.poll() is None, (self.directory / "log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.02)

    def stop(self) -> None:
        """End the server and all of its sessions."""
        if self.process and self.process.poll() is None:
            for pid in [*self.sessions(), self.process.pid]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.process.wait(10)

    def sessions(self) -> list[int]:
        """Return the processes of this server's connections, deepest first."""
        assert self.process
        found, front = [], [self.process.pid]
        while front:
            front = [child for pid in front for child in _children(pid) if "sshd" in _comm(child)]
            found = [*front, *found]
        return found

    def known(self, *, name: str = "", marker: str = "", keys: Sequence[Path] = ()) -> str:
        """Return lines of known_hosts for this server."""
        name = name or f"[{self.address}]:{self.port}"
        return "".join(f"{marker}{name} {public(key)}\n" for key in keys or self.host_keys)


@dataclass
class Runner:
    """The controller's side: an SSH configuration and known_hosts, in `directory`."""

    directory: Path
    config: str = ""

    def __post_init__(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.known_hosts = self.directory / "known_hosts"
        self.known_hosts.touch()

    def host(
        self, name: str, server: Sshd, *, user: str = OWN_USER, key: Path | None = None, more: str = ""
    ) -> None:
        """Add a host to the configuration."""
        self.config += (
            f"Host {name}\n HostName {server.address}\n Port {server.port}\n User {user}\n"
            f" IdentityFile {key or server.user_key}\n UserKnownHostsFile {self.known_hosts}\n"
            " GlobalKnownHostsFile none\n" + "".join(f" {line}\n" for line in more.splitlines())
        )

    def trust(self, text: str) -> None:
        """Add lines to known_hosts."""
        with self.known_hosts.open("a") as file:
            file.write(text)

    def settings(self, **options: object) -> SshSettings:
        """Write the configuration, and return the settings that use it."""
        path = self.directory / "config"
        path.write_text(self.config)
        return SshSettings(config_file=path, **options)  # type: ignore[arg-type]


@contextlib.contextmanager
def account(
    authorized: str, *, login_shell: str = "/bin/sh", sudoers: str = "", password: str = ""
) -> Iterator[str]:
    """Make an ordinary account that lets a key in, and take it away again. `sudoers` may say `{user}`. Needs root."""
    assert os.geteuid() == 0, "accounts can only be made by root"
    name = f"edp{os.getpid()}x{next(_names)}"
    rule = Path(f"/etc/sudoers.d/{name}")
    subprocess.run(["useradd", "-m", "-s", login_shell, name], check=True)
    try:
        # An account whose password is locked may not log in without PAM.
        secret = f"{name}:{password or base64.b64encode(os.urandom(18)).decode()}"
        subprocess.run(["chpasswd"], input=secret.encode(), check=True)
        keys = Path(f"/home/{name}/.ssh/test_keys")
        keys.parent.mkdir()
        keys.write_text(authorized)
        if sudoers:
            rule.touch(mode=0o440)
            rule.write_text(f"Defaults:{name} !lecture\n" + sudoers.format(user=name) + "\n")
        yield name
    finally:
        rule.unlink(missing_ok=True)
        deadline = time.monotonic() + 10
        while subprocess.run(["userdel", "-rf", name], capture_output=True, check=False).returncode:
            if name not in {entry.pw_name for entry in pwd.getpwall()}:
                break
            assert time.monotonic() < deadline
            time.sleep(0.05)


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += map(int, task.read_text().split())
    return found


def _comm(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text()
    return ""
