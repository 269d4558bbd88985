"""Running one script in one session of an SSH connection: how it is quoted, how it becomes root, what comes back.

What the session runs is `exec sudo -n -- sh -c FRAME etcdplan MARK SCRIPT etcdplan ARGUMENTS…`, or without the sudo for
root. FRAME prints MARK, which nobody can guess, on both outputs and then runs the script: what login shell and sudo
print before it is not output of the script, and a script without MARK never started.
"""

import os
import secrets
import select
import stat
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path

from etcdplan.errors import EtcdplanError
from etcdplan.hosts.ports import HostOutcomeUnknown, HostRefused
from etcdplan.hosts.shell import Completed, Stream
from etcdplan.pki.secret import Secret
from etcdplan.transport.ssh_connection import Connection, SessionRefused, left
from etcdplan.transport.ssh_paramiko import paramiko

# The shell that remains afterwards reports a script that a signal ended as status 128 + N. PATH because an SSH
# session's lacks the sbin directories.
_FRAME = (
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C; export PATH LC_ALL; cd /\n"
    'printf "%s\\n" "$1"; printf "%s\\n" "$1" >&2; shift; sh -c "$@"; exit $?'
)
# The host's own script for reading is run in the place of the one that is sent, if it is of this version: sudo may let
# the user run nothing else. Behind PATH, SHA256 and sudo's prompt come the words after `sh -c` as without it.
_CHOICE = (
    'path=$1 sum=$2 prompt=$3; shift 3; if [ "$({ sha256sum <"$path"; } 2>/dev/null)" = "$sum  -" ]; then '
    'mark=$3; shift 5; set -- "$path" "$mark" "$@"; else set -- sh -c "$@"; fi; '
    'if [ -n "$prompt" ]; then exec sudo -k -S -p "$prompt" -- "$@"; else exec sudo -n -- "$@"; fi'
)
_MAX_COMMAND = (1 << 17) - 1  # Linux's MAX_ARG_STRLEN, for the login shell gets all of it as one argument
_MAX_NOISE = 1 << 20
_SHOWN_STDERR = 1 << 14
_CHUNK = 1 << 15
_UNSENT_POLL = 0.02


class _Stream:
    """One output of a session, in two parts: before the mark, and after it."""

    def __init__(self, mark: bytes) -> None:
        self._line = mark + b"\n"
        self.noise = bytearray()
        self.data = bytearray()
        self.started = False

    def feed(self, data: bytes) -> None:
        if self.started:
            self.data += data
            return
        searched = max(0, len(self.noise) - len(self._line))
        self.noise += data
        at = self.noise.find(self._line, searched)
        if at >= 0:
            self.started = True
            self.data += self.noise[at + len(self._line) :]
            del self.noise[at:]


def quoted(words: Sequence[str]) -> bytes:
    """Return a command line that a POSIX shell splits into exactly these words; raise `ValueError` for a NUL."""
    # Every word, for other shells than sh expand more: `=ls` is a path to zsh.
    line = " ".join("'" + word.replace("'", "'\"'\"'") + "'" for word in words)
    if "\0" in line:
        raise ValueError("a NUL cannot be part of an argument")
    return line.encode("utf-8", "surrogateescape")


def read_password(file: Path) -> Secret:
    """Read sudo's password from the first line of a file that is its owner's alone; raise `EtcdplanError`."""
    try:
        with file.open("rb") as stream:
            mode = stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
            if mode & 0o077:
                raise EtcdplanError(
                    f"{file}, sudo's password, has mode {mode:04o}: others may read it.",
                    hint=f"chmod 600 {file}",
                )
            return Secret(stream.read(4096).split(b"\n")[0])
    except OSError as error:
        raise EtcdplanError(f"{file}, sudo's password, cannot be read: {error.strerror}.") from error


def run_script(
    connection: Connection,
    script: str,
    arguments: Sequence[str],
    *,
    stdin: bytes | Stream,
    deadline: float,
    limit: int,
    sudo_password: Secret | None = None,
    reader: tuple[str, str] | None = None,
) -> Completed:
    """Run a script as `Shell.run` says, on a connection that stands.

    `reader` is path and SHA-256 of a file that does the same on a host that has it.
    """
    mark, prompt = secrets.token_hex(16), secrets.token_hex(16)
    framed = ("sh", "-c", _FRAME, "etcdplan", mark, script, "etcdplan", *arguments)
    sudo: tuple[str, ...] = ("sudo", "-n", "--")
    if sudo_password:
        sudo = ("sudo", "-k", "-S", "-p", prompt, "--")
    if connection.destination.user == "root":
        command = b"exec " + quoted(framed)
    elif reader:
        choice = ("sh", "-c", _CHOICE, "etcdplan", *reader, prompt if sudo_password else "", *framed[2:])
        command = b"exec " + quoted(choice)
    else:
        command = b"exec " + quoted((*sudo, *framed))
    if len(command) > _MAX_COMMAND:
        raise ValueError(
            f"a script and its arguments may have {_MAX_COMMAND} bytes, these have {len(command)}"
        )
    name = connection.destination.name
    channel = connection.sessions.opened(
        lambda: connection.open_channel("session", deadline), SessionRefused, deadline
    )
    try:
        with connection.watched(deadline), closing(channel):
            session = _Session(name, channel, mark.encode(), prompt.encode(), sudo_password, limit, reader)
            try:
                return session.run(command, stdin, deadline)
            except (paramiko.SSHException, EOFError, OSError):
                # What ends a connection may be that too much came, before any of it was looked at.
                session.drain()
                raise
    except HostOutcomeUnknown:
        connection.close()  # whoever sends too much may go on with it
        raise
    except (paramiko.SSHException, EOFError, OSError) as error:
        late = time.monotonic() >= deadline
        reason = "it did not end in time" if late else "the SSH connection broke"
        raise HostOutcomeUnknown(
            f"It is unknown what became of a command on {name}: {reason}.",
            hint="Plan again: what the host has become is looked at first.",
        ) from error


class _Session:
    def __init__(
        self,
        name: str,
        channel: paramiko.Channel,
        mark: bytes,
        prompt: bytes,
        password: Secret | None,
        limit: int,
        reader: tuple[str, str] | None = None,
    ) -> None:
        self._reader = reader
        self._name, self._channel, self._limit = name, channel, limit
        self._prompt, self._password = prompt, password
        self._out, self._err = _Stream(mark), _Stream(mark)
        self._answered = False

    def run(self, command: bytes, stdin: bytes | Stream, deadline: float) -> Completed:
        channel = self._channel
        poll = select.poll()
        poll.register(channel.fileno(), select.POLLIN)
        channel.settimeout(0.0)
        channel.exec_command(command)
        chunks = iter((stdin,)) if isinstance(stdin, bytes) else stdin.chunks()
        unsent, open_ = memoryview(b""), True
        while not self.drain():
            if open_ and self._out.started:
                # A script that ends without reading all of it is no failure; a broken connection is noticed below.
                with suppress(OSError):
                    while open_ and channel.send_ready():
                        unsent = unsent or memoryview(next(chunks, b""))
                        if unsent:
                            unsent = unsent[channel.send(unsent[:_CHUNK].tobytes()) :]
                        else:
                            channel.shutdown_write()
                            open_ = False
            wait = left(deadline)
            poll.poll(1000 * (min(wait, _UNSENT_POLL) if open_ and self._out.started else wait))
        if not channel.status_event.wait(left(deadline)) or channel.exit_status < 0:
            raise EOFError
        if not self._out.started:
            raise self._refusal(channel.exit_status)
        shown = self._err.data if self._err.started else self._err.noise
        return Completed(
            channel.exit_status, bytes(self._out.data), _printable(bytes(shown[: _SHOWN_STDERR + 1]))
        )

    def drain(self) -> bool:
        """Take what has come; return whether nothing more can come, raise `HostOutcomeUnknown` if it is too much."""
        channel = self._channel
        ended = channel.eof_received or channel.closed
        while channel.recv_ready():
            self._out.feed(channel.recv(_CHUNK))
            self._check_amount(self._out, self._limit)
        while channel.recv_stderr_ready():
            self._err.feed(channel.recv_stderr(_CHUNK))
            self._answer_prompt()
            # More than is shown is read and dropped, within reason.
            self._check_amount(self._err, max(self._limit, _MAX_NOISE))
        return bool(ended)

    def _check_amount(self, stream: _Stream, limit: int) -> None:
        if len(stream.data) > limit or len(stream.noise) > _MAX_NOISE:
            raise HostOutcomeUnknown(
                f"A command on {self._name} printed more than {limit if stream.started else _MAX_NOISE} bytes and"
                " was cut off there.",
                hint="Look at what runs on that host: the output is not what it should be.",
            )

    def _answer_prompt(self) -> None:
        prompts = self._err.noise.count(self._prompt)
        if self._password is None or not prompts or self._err.started:
            return
        if prompts > 1:
            raise HostRefused(
                f"sudo on {self._name} does not take the password.", hint="Nothing was run there as root."
            )
        if not self._answered:
            self._answered = True
            self._channel.sendall(self._password.reveal() + b"\n")

    def _refusal(self, status: int) -> HostRefused:
        said = bytes(self._err.noise + self._out.noise).replace(self._prompt, b"")
        lines = [line.strip() for line in _printable(said[-2000:]).splitlines() if line.strip()]
        user = self._channel.get_transport().get_username()
        nor = f", nor is {self._reader[0]} of this version there" if self._reader else ""
        right = (
            "'etcdplan access --sudoers SPEC' prints it"
            if self._reader
            else "'etcdplan access --sudoers --role apply SPEC' prints it; the role plan only reads"
        )
        hint = (
            "That user needs a POSIX login shell, and a right to sudo that asks for no password, or one whose"
            f" password the runner knows: {right}."
        )
        return HostRefused(
            f"{self._name} does not let {user} run commands as root{nor} (status {status}): "
            f"{lines[-1] if lines else 'no reason given'}",
            hint=hint,
        )


def _printable(data: bytes) -> str:
    """Return text for people: of what does not print only line ends and tabs as they are."""
    cut, text = len(data) > _SHOWN_STDERR, data[:_SHOWN_STDERR].decode("utf-8", "backslashreplace")
    shown = "".join(
        char if char.isprintable() or char in "\n\t" else char.encode("unicode_escape").decode("ascii")
        for char in text
    )
    return shown + ("\n[cut off]" if cut else "")
