"""Running etcdplan's own scripts on a host, and reading their answers.

A script is sent with every request, so that nothing of it is kept on a host. Its answer is parts that begin with a
nonce on a line of its own; what comes before (a login shell's greeting, sudo's lecture) is left out. The last part says
how it went. An answer without one is no answer.
"""

import base64
import binascii
import errno
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from etcdplan.hosts.files import plain_reason, refusal
from etcdplan.hosts.ports import HostOutcomeUnknown, HostRefused, HostUnreachable
from etcdplan.hosts.shell import DEFAULT_LIMIT, Completed, Shell, Stream

_RESULTS = ("absent", "busy", "claimed", "content", "differs", "done", "fenced", "looked", "never", "noted")
_FAILURES = ("refused", "unreadable")
_LONGEST = 400


@dataclass(frozen=True, slots=True)
class Answer:
    """What a script answered: a word for how it went, its text still in base64, and the parts before.

    A part is a line and its content, byte for byte.
    """

    result: str
    encoded: str
    parts: tuple[tuple[str, bytes], ...]

    @property
    def content(self) -> bytes:
        """The text that belongs to the result; raises `ValueError`."""
        return decoded(self.encoded)

    @property
    def text(self) -> str:
        """The same for people: short, on one line, and with nothing in it that moves a cursor."""
        try:
            return readable(self.content)
        except ValueError:
            return "what it says cannot be read"


def decoded(text: str) -> bytes:
    """Decode base64; raise `ValueError`."""
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError("a host's answer is damaged") from error


def readable(content: bytes) -> str:
    """Return what a host said, fit for a message."""
    text = " ".join(content.decode(errors="replace").split())
    text = "".join(char if char.isprintable() else "?" for char in text)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def source(*names: str) -> str:
    """Return the text of some scripts, for a program that stays on a host."""
    return _source(names)


@cache
def _source(names: tuple[str, ...]) -> str:
    here = files("etcdplan.hosts.remote")
    return "\n".join((here / f"{name}.sh").read_text() for name in ("common", *names))


def run(
    shell: Shell,
    scripts: Sequence[str],
    verb: str,
    *arguments: str,
    payload: bytes | None = None,
    stream: bytes | Stream = b"",
    timeout: float,
    limit: int = DEFAULT_LIMIT,
) -> Answer:
    """Run a verb of some scripts; a payload is sent on stdin, and `size_of` it is one of the arguments.

    A `stream` is sent there as it is: for what is too large for a shell's variable.

    Raises what `Shell.run` does; an answer that is none counts as `HostOutcomeUnknown`.
    """
    nonce = secrets.token_hex(8)
    stdin = stream if payload is None else base64.b64encode(payload)
    done = shell.run(
        _source(tuple(scripts)), nonce, verb, *arguments, stdin=stdin, timeout=timeout, limit=limit
    )
    return _answer(shell.address, nonce, done)


def size_of(payload: bytes) -> str:
    """Return the length of a payload as it travels."""
    return str(len(base64.b64encode(payload)))


def look(
    shell: Shell, scripts: Sequence[str], verb: str, *arguments: str, timeout: float, limit: int
) -> Answer:
    """Run a verb that changes nothing; raise `HostUnreachable` whatever keeps it from answering."""
    try:
        return run(shell, scripts, verb, *arguments, timeout=timeout, limit=limit)
    except (HostOutcomeUnknown, HostRefused) as error:
        raise HostUnreachable(error.message, hint=error.hint) from error


def refused(address: str, answer: Answer) -> HostRefused:
    """Return the error for a refusal, in plain words where the reason is a common one."""
    text = answer.text
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM):
        if os.strerror(number) in text:
            error = OSError(number, os.strerror(number))
            plain = refusal(address, error)
            return HostRefused(f"Host {address} refused: {plain_reason(error)} ({text}).", hint=plain.hint)
    return HostRefused(f"Host {address} refused: {text.rstrip('.') or 'it did not say why'}.")


def _answer(address: str, nonce: str, done: Completed) -> Answer:
    _, *found = done.stdout.split(f"\n{nonce} ".encode())
    split = [part.partition(b"\n") for part in found]
    parts = [(line.decode(errors="replace"), content) for line, _, content in split]
    result, _, encoded = parts[-1][0].partition(" ") if parts else ("", "", "")
    if result not in _RESULTS + _FAILURES or not split[-1][1]:
        said = readable(done.stderr.encode()) or f"status {done.status}"
        raise HostOutcomeUnknown(
            f"Host {address} did not answer as expected: {said}.",
            hint="A managed host needs sh, coreutils, flock, openssl and systemd.",
        )
    return Answer(result, encoded.strip(), tuple(parts[:-1]))
