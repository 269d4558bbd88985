"""How an SSH user who is not root becomes root: real accounts, real sudo. Needs root to make them."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from etcdplan.errors import EtcdplanError
from etcdplan.hosts.ports import HostRefused
from etcdplan.transport.ssh import SshHosts
from tests.support.ssh_fixtures import runner, server
from tests.support.sshd import Runner, Sshd, account, public

__all__ = ["runner", "server"]
pytestmark = [pytest.mark.bed, pytest.mark.timeout(120)]


@contextmanager
def as_user(server: Sshd, runner: Runner, **options: str) -> Iterator[str]:
    """Let an ordinary account log in as host `h`."""
    with account(public(server.user_key), **options) as user:
        runner.host("h", server, user=user)
        runner.trust(server.known())
        yield user


_FREELY = "{user} ALL=(root) NOPASSWD: ALL"
_WITH_PASSWORD = "{user} ALL=(root) ALL"
_PASSWORD = "Canary-p4ss word"


@pytest.mark.parametrize("defaults", ["", "Defaults:{user} use_pty\n"])
def test_an_ordinary_user_becomes_root(server: Sshd, runner: Runner, defaults: str) -> None:
    with as_user(server, runner, sudoers=defaults + _FREELY), SshHosts(runner.settings()) as hosts:
        done = hosts.shell("h").run(
            'id -u; echo "$1"; cat; exit 3', "a 'b", stdin=b"in\n\r\0\4\xff", timeout=20
        )
        assert (done.status, done.stdout, done.stderr) == (3, b"0\na 'b\nin\n\r\0\4\xff", "")


def test_noise_of_a_real_login(server: Sshd, runner: Runner) -> None:
    with (
        as_user(server, runner, sudoers=_FREELY, login_shell="/bin/bash") as user,
        SshHosts(runner.settings()) as hosts,
    ):
        Path(f"/home/{user}/.bashrc").write_text("echo Welcome; echo Motd >&2; trap 'echo bye' EXIT\n")
        done = hosts.shell("h").run("id -u; echo err >&2", timeout=20)
        assert (done.stdout, done.stderr) == (b"0\n", "err\n")


@pytest.mark.parametrize(
    ("sudoers", "reason"),
    [("", "a password is required|not in the sudoers"), (_WITH_PASSWORD, "a password is required")],
)
def test_no_right_to_become_root(
    server: Sshd, runner: Runner, tmp_path: Path, sudoers: str, reason: str
) -> None:
    with as_user(server, runner, sudoers=sudoers) as user, SshHosts(runner.settings()) as hosts:
        with pytest.raises(
            HostRefused, match=f"does not let {user} run commands as root.*({reason})"
        ) as error:
            hosts.shell("h").run('echo > "$1"', str(tmp_path / "ran"), stdin=b"secret", timeout=20)
        assert error.value.exit_code == 6
        assert "secret" not in str(error.value)
    assert not (tmp_path / "ran").exists()


def test_a_right_to_another_command_only(server: Sshd, runner: Runner) -> None:
    with (
        as_user(server, runner, sudoers="{user} ALL=(root) NOPASSWD: /usr/bin/id"),
        SshHosts(runner.settings()) as hosts,
        pytest.raises(HostRefused, match=r"password is required|not allowed"),
    ):
        hosts.shell("h").run("id", timeout=20)


def test_an_account_without_a_shell(server: Sshd, runner: Runner) -> None:
    with (
        as_user(server, runner, sudoers=_FREELY, login_shell="/usr/sbin/nologin"),
        SshHosts(runner.settings()) as hosts,
        pytest.raises(HostRefused, match="currently not available"),
    ):
        hosts.shell("h").run("id", timeout=20)


def _password_file(tmp_path: Path, password: str = _PASSWORD) -> Path:
    file = tmp_path / "password"
    file.touch(mode=0o600)
    file.write_text(password + "\n")
    return file


@contextmanager
def as_witness() -> Iterator[set[str]]:
    """Collect the arguments and the environment of every process, meanwhile."""
    seen: set[str] = set()
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            for path in (*Path("/proc").glob("[0-9]*/cmdline"), *Path("/proc").glob("[0-9]*/environ")):
                with suppress(OSError):
                    seen.add(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        done.set()
        watcher.join()


def test_sudo_with_a_password(server: Sshd, runner: Runner, tmp_path: Path) -> None:
    settings = runner.settings
    with as_user(server, runner, sudoers=_WITH_PASSWORD, password=_PASSWORD):
        with SshHosts(settings(sudo_password_file=_password_file(tmp_path))) as hosts:
            for _ in range(2):  # the second time sudo would remember the first
                done = hosts.shell("h").run("id -u; cat", stdin=b"in\nput", timeout=20)
                assert (done.status, done.stdout, done.stderr) == (0, b"0\nin\nput", "")
            done = hosts.shell("h").run(
                'id -u; exec 0</dev/null; ps -eo args | grep -c "[C]anary"', timeout=20
            )
            assert done.stdout == b"0\n0\n"
        assert _PASSWORD not in (server.directory / "log").read_text()


def test_a_password_that_sudo_does_not_ask_for_reaches_nobody(
    server: Sshd, runner: Runner, tmp_path: Path
) -> None:
    with (
        as_user(server, runner, sudoers=_FREELY),
        SshHosts(runner.settings(sudo_password_file=_password_file(tmp_path))) as hosts,
    ):
        assert hosts.shell("h").run("cat", stdin=b"in", timeout=20).stdout == b"in"
        assert hosts.shell("h").run("cat", timeout=20).stdout == b""


def test_a_wrong_password(server: Sshd, runner: Runner, tmp_path: Path) -> None:
    file = _password_file(tmp_path, "Canary-wrong")
    with (
        as_user(server, runner, sudoers=_WITH_PASSWORD, password=_PASSWORD),
        SshHosts(runner.settings(sudo_password_file=file)) as hosts,
        pytest.raises(HostRefused, match="does not take the password") as error,
    ):
        hosts.shell("h").run("cat", stdin=b"in", timeout=20)
    assert "Canary" not in str(error.value) + error.value.hint


def test_a_password_file_that_others_can_read(runner: Runner, tmp_path: Path) -> None:
    file = _password_file(tmp_path)
    file.chmod(0o644)
    with pytest.raises(EtcdplanError, match="others may read it"):
        SshHosts(runner.settings(sudo_password_file=file))
