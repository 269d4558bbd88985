"""SFTP (version 3, as OpenSSH's server speaks it) over one of our SSH connections.

Requests are sent ahead of their answers, so that a distant server is not slower than a near one, and no more of them
than a fixed number: memory stays flat. A write that fails is told, at the latest when the file is closed. No wait is
endless.
"""

import stat
import struct
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from etcdplan.errors import EtcdplanError
from etcdplan.hosts.ports import HostUnreachable
from etcdplan.transport.ssh_connection import Connection
from etcdplan.transport.ssh_paramiko import paramiko

BLOCK: Final = 32_768
"""Bytes of one read or write: what every server takes."""
AHEAD: Final = 64
"""Requests whose answers may be outstanding."""
_MAX_PACKET: Final = 1 << 18
_MAX_NAMES: Final = 1_000_000
_VERSION: Final = 3
(_INIT, _IS_VERSION, _OPEN, _CLOSE, _READ, _WRITE, _LSTAT, _FSTAT) = range(1, 9)
(_OPENDIR, _READDIR, _REMOVE, _MKDIR, _RENAME, _EXTENDED) = (11, 12, 13, 14, 18, 200)
(_STATUS, _HANDLE, _DATA, _NAME, _ATTRS) = range(101, 106)
_OK, _EOF, _NO_SUCH_FILE = 0, 1, 2
_FOR_READING, _NEW_FOR_WRITING = 0x01, 0x02 | 0x08 | 0x20
_REASONS: Final = {2: "no such file", 3: "permission denied", 8: "the server cannot do that"}
_FSYNC: Final = b"fsync@openssh.com"


class SftpError(EtcdplanError):
    """The server refused, or does not speak SFTP; `code` is its own (2: no such file)."""

    code = 4


@dataclass(frozen=True, slots=True)
class Attributes:
    """Of a file. A server need not tell them: then they are None."""

    size: int | None
    mode: int | None
    changed: int | None

    @property
    def is_regular(self) -> bool:
        """Whether it is known to be a regular file."""
        return self.mode is not None and stat.S_ISREG(self.mode)


class Sftp:
    """One session; each wait may take `stall` seconds. Everything raises `SftpError` or `HostUnreachable`."""

    def __init__(self, connection: Connection, *, stall: float) -> None:
        """Open a session and agree on the version."""
        self._stall, self._number, self._connection = stall, 0, connection
        self._answers: dict[int, bytes] = {}
        self._channel = connection.open_channel("session", time.monotonic() + stall)
        try:
            self._channel.settimeout(stall)
            try:
                self._channel.invoke_subsystem("sftp")
            except paramiko.SSHException as error:
                raise SftpError(f"It offers no SFTP ({str(error).rstrip('.')}).") from None
            self._send(struct.pack(">BI", _INIT, _VERSION))
            kind, content = self._packet()
            if kind != _IS_VERSION or len(content) < 4 or struct.unpack_from(">I", content)[0] < _VERSION:
                raise SftpError("It does not speak version 3 of SFTP.")
            fields = _Fields(content[4:])
            self._extensions = {}
            while fields.left:
                name = fields.text()
                self._extensions[name] = fields.text()
        except BaseException:
            self.close()
            raise

    def open_on(self, connection: Connection) -> bool:
        """Whether this is a session of that connection, and has not ended."""
        return connection is self._connection and connection.alive and not self._channel.closed

    def close(self) -> None:
        """End the session."""
        with suppress(paramiko.SSHException, EOFError, OSError):
            self._channel.close()

    def names(self, path: str) -> list[tuple[str, Attributes]]:
        """Return what is in a directory."""
        handle = self._handle(_OPENDIR, _text(path))
        found: list[tuple[str, Attributes]] = []
        try:
            while True:
                kind, fields = self.answer(self.ask(_READDIR, _text(handle)))
                if kind != _NAME:
                    if _status(kind, fields) == _EOF:
                        return found
                    raise SftpError("It does not list the directory to its end.")
                for _ in range(fields.number()):
                    name = fields.text().decode(errors="surrogateescape")
                    fields.text()  # as `ls -l` shows it
                    found.append((name, fields.attributes()))
                if len(found) > _MAX_NAMES:
                    raise SftpError("The directory has too many files.")
        finally:
            self._done(_CLOSE, _text(handle))

    def attributes(self, path: str) -> Attributes | None:
        """Return those of a file, of a link itself; None when there is none."""
        try:
            kind, fields = self.answer(self.ask(_LSTAT, _text(path)))
        except SftpError as error:
            if error.code == _NO_SUCH_FILE:
                return None
            raise
        if kind != _ATTRS:
            raise SftpError("It answers what was not asked.")
        return fields.attributes()

    def make_directory(self, path: str) -> None:
        """Make a directory of mode 0700."""
        self._done(_MKDIR, _text(path), struct.pack(">II", 0x4, 0o700))

    def remove(self, path: str) -> None:
        """Remove a file; one that is not there is removed."""
        try:
            self._done(_REMOVE, _text(path))
        except SftpError as error:
            if error.code != _NO_SUCH_FILE:
                raise

    def rename(self, path: str, new: str) -> None:
        """Rename a file, over no other: what version 3 means by it; OpenSSH links and unlinks."""
        self._done(_RENAME, _text(path), _text(new))

    def reading(self, path: str) -> "Reading":
        """Open a regular file to be read from its beginning."""
        handle = self._handle(_OPEN, _text(path), struct.pack(">II", _FOR_READING, 0))
        return Reading(self, handle)

    def writing(self, path: str) -> "Writing":
        """Make a new file of mode 0600."""
        flags = struct.pack(">III", _NEW_FOR_WRITING, 0x4, 0o600)
        return Writing(self, self._handle(_OPEN, _text(path), flags), sync=_FSYNC in self._extensions)

    def _handle(self, kind: int, *parts: bytes) -> bytes:
        answered, fields = self.answer(self.ask(kind, *parts))
        if answered != _HANDLE:
            raise SftpError("It answers what was not asked.")
        return fields.text()

    def _done(self, kind: int, *parts: bytes) -> None:
        _settle(self, self.ask(kind, *parts))

    def ask(self, kind: int, *parts: bytes) -> int:
        """Send a request; return its number."""
        self._number += 1
        self._send(struct.pack(">BI", kind, self._number) + b"".join(parts))
        return self._number

    def answer(self, number: int) -> "tuple[int, _Fields]":
        """Return the answer to a request; raise what it refuses with, the end of a file excepted."""
        while number not in self._answers:
            kind, content = self._packet()
            if len(content) < 4:
                raise SftpError("It sent what no SFTP server sends.")
            (about,) = struct.unpack_from(">I", content)
            if len(self._answers) > 2 * AHEAD:
                raise SftpError("It answers what was not asked.")
            self._answers[about] = bytes([kind]) + content[4:]
        content = self._answers.pop(number)
        kind, fields = content[0], _Fields(content[1:])
        if kind == _STATUS:
            code = fields.peek_number()
            if code not in (_OK, _EOF):
                fields.number()
                raise _refusal(code, fields)
        return kind, fields

    def _send(self, content: bytes) -> None:
        try:
            self._channel.sendall(struct.pack(">I", len(content)) + content)
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise self._broken(error) from None

    def _packet(self) -> tuple[int, bytes]:
        (size,) = struct.unpack(">I", self._exactly(4))
        if not 1 <= size <= _MAX_PACKET:
            raise SftpError("It sent what no SFTP server sends.")
        content = self._exactly(size)
        return content[0], content[1:]

    def _exactly(self, size: int) -> bytes:
        parts, missing = [], size
        until = time.monotonic() + self._stall
        try:
            while missing:
                # However slowly the bytes come.
                self._channel.settimeout(max(until - time.monotonic(), 0.001))
                part = self._channel.recv(missing)
                if not part:
                    raise EOFError
                parts.append(part)
                missing -= len(part)
            self._channel.settimeout(self._stall)
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise self._broken(error) from None
        return b"".join(parts)

    def _broken(self, error: BaseException) -> HostUnreachable:
        self.close()
        late = isinstance(error, TimeoutError)
        return HostUnreachable(
            f"It makes no progress ({self._stall:.0f} s)." if late else "The SFTP session broke off."
        )


class _Open:
    """A file that is open. It is closed once: a server may give its handle to the next file."""

    def __init__(self, sftp: Sftp, handle: bytes) -> None:
        self._sftp, self._handle = sftp, handle
        self._closed = False

    def _close(self) -> None:
        if not self._closed:
            self._closed = True
            _settle(self._sftp, self._sftp.ask(_CLOSE, _text(self._handle)))


class Reading(_Open):
    """A file that is read from its beginning on; read it to its end, or close it."""

    def __init__(self, sftp: Sftp, handle: bytes) -> None:
        super().__init__(sftp, handle)
        self._asked: deque[tuple[int, int, int]] = deque()
        self._at = 0
        kind, fields = sftp.answer(sftp.ask(_FSTAT, _text(handle)))
        attributes = fields.attributes() if kind == _ATTRS else Attributes(None, None, None)
        if not attributes.is_regular or attributes.size is None:
            self.close()
            raise SftpError("It is not a regular file.")
        self._end = attributes.size
        self._rest = b""

    def read(self, size: int, /) -> bytes:
        """Return at most so many bytes, none at the end: that of the file when it was opened."""
        if not self._rest:
            self._ahead()
            if not self._asked:
                return b""
            number, offset, length = self._asked.popleft()
            kind, fields = self._sftp.answer(number)
            self._rest = fields.text() if kind == _DATA else b""
            if not self._rest or len(self._rest) > length:
                raise SftpError("The file ends before its end.")
            if len(self._rest) < length:  # A short answer: what is missing comes next.
                start = offset + len(self._rest)
                self._asked.appendleft(self._request(start, offset + length - start))
        data, self._rest = self._rest[:size], self._rest[size:]
        return data

    def close(self) -> None:
        """Close it; what is on its way is dropped."""
        for number, _, _ in self._asked:
            with suppress(EtcdplanError):
                self._sftp.answer(number)
        self._asked.clear()
        with suppress(EtcdplanError):
            self._close()

    def _ahead(self) -> None:
        while len(self._asked) < AHEAD and self._at < self._end:
            length = min(BLOCK, self._end - self._at)
            self._asked.append(self._request(self._at, length))
            self._at += length

    def _request(self, offset: int, length: int) -> tuple[int, int, int]:
        number = self._sftp.ask(_READ, _text(self._handle), struct.pack(">QI", offset, length))
        return number, offset, length


class Writing(_Open):
    """A new file that is written from its beginning on."""

    def __init__(self, sftp: Sftp, handle: bytes, *, sync: bool) -> None:
        super().__init__(sftp, handle)
        self._sync = sync
        self._asked: deque[int] = deque()
        self._at = 0

    def write(self, data: bytes) -> None:
        """Add to the file."""
        view = memoryview(data)
        for start in range(0, len(view), BLOCK):
            block = bytes(view[start : start + BLOCK])
            request = struct.pack(">Q", self._at) + _text(block)
            self._asked.append(self._sftp.ask(_WRITE, _text(self._handle), request))
            self._at += len(block)
            if len(self._asked) > AHEAD:
                _settle(self._sftp, self._asked.popleft())

    def finish(self) -> None:
        """Have all of it on the server's disk, as far as it offers that, and close it; raise when anything failed."""
        while self._asked:
            _settle(self._sftp, self._asked.popleft())
        if self._sync:
            _settle(self._sftp, self._sftp.ask(_EXTENDED, _text(_FSYNC), _text(self._handle)))
        kind, fields = self._sftp.answer(self._sftp.ask(_FSTAT, _text(self._handle)))
        if kind != _ATTRS or fields.attributes().size != self._at:
            raise SftpError("The file is not as long as what was written.")
        self._close()

    def close(self) -> None:
        """Close it as it is."""
        while self._asked:
            with suppress(EtcdplanError):
                self._sftp.answer(self._asked.popleft())
        with suppress(EtcdplanError):
            self._close()


class _Fields:
    """The fields of a packet, one after the other."""

    def __init__(self, content: bytes) -> None:
        self._content, self._at = content, 0

    @property
    def left(self) -> bool:
        return self._at < len(self._content)

    def peek_number(self) -> int:
        return int(self._unpack(">I", move=False))

    def number(self) -> int:
        return int(self._unpack(">I"))

    def text(self) -> bytes:
        size = self.number()
        data = self._content[self._at : self._at + size]
        if len(data) != size:
            raise SftpError("It sent what no SFTP server sends.")
        self._at += size
        return data

    def attributes(self) -> Attributes:
        flags = self.number()
        size = int(self._unpack(">Q")) if flags & 0x1 else None
        if flags & 0x2:
            self.number(), self.number()
        mode = self.number() if flags & 0x4 else None
        changed = None
        if flags & 0x8:
            self.number()
            changed = self.number()
        for _ in range(self.number() if flags & 0x80000000 else 0):
            self.text(), self.text()
        return Attributes(size, mode, changed)

    def _unpack(self, form: str, *, move: bool = True) -> int:
        try:
            (value,) = struct.unpack_from(form, self._content, self._at)
        except struct.error:
            raise SftpError("It sent what no SFTP server sends.") from None
        if move:
            self._at += struct.calcsize(form)
        return int(value)


def _text(data: str | bytes) -> bytes:
    content = data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data
    return struct.pack(">I", len(content)) + content


def _settle(sftp: Sftp, number: int) -> None:
    """Return when a request was done; raise when it was not."""
    if _status(*sftp.answer(number)) != _OK:
        raise SftpError("It answers what was not asked.")


def _status(kind: int, fields: _Fields) -> int:
    """Return the code of a status; -1 for what is none."""
    return fields.number() if kind == _STATUS else -1


def _refusal(code: int, fields: _Fields) -> SftpError:
    said = fields.text().decode(errors="replace") if fields.left else ""
    shown = "".join(char if char.isprintable() else "?" for char in said)[:200].rstrip(".")
    # OpenSSH says "Failure" of a full disk, and of a name that there is: version 3 has no code for these.
    reason = _REASONS.get(code, f"the server says {shown!r}" if shown else f"status {code}")
    error = SftpError(f"{reason[0].upper()}{reason[1:]}.")
    error.code = code
    return error
