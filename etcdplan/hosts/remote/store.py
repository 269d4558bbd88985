"""etcdplan's own directory on a host behind a shell.

Nothing is held between two requests: a guard that were held by an open connection would have to end with it, and a
controller that is frozen would hold it for ever. What the lock needs, comparing and writing as one, is one request.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from etcdplan.hosts.ports import STORE_NAME, HostRefused, HostUnreachable
from etcdplan.hosts.remote.script import Answer, look, refused, run, size_of
from etcdplan.hosts.shell import Shell

_READ, _WRITE, _END = 10.0, 20.0, 30.0
_LIMIT = 32 << 20


@dataclass(frozen=True, slots=True)
class RemoteStore:
    """Implements `HostStore`."""

    shell: Shell

    def read(self, name: str) -> bytes | None:
        """Return a file's content, None when there is none."""
        return self._content("read", self._checked(name))

    def names(self, directory: str) -> tuple[str, ...]:
        """Return the names in a directory, sorted; half-written files are left out."""
        listed = self._content("names", self._checked(directory) if directory else "") or b""
        return tuple(sorted(name for name in listed.decode(errors="replace").split("\n") if name))

    def write(self, name: str, content: bytes) -> None:
        """Write a file atomically."""
        self._change("write", self._checked(name), size_of(content), payload=content)

    def append(self, name: str, content: bytes) -> None:
        """Append to a file and sync it; what could be appended only in part is taken back."""
        self._change("append", self._checked(name), size_of(content), payload=content)

    def replace(self, name: str, seen: bytes | None, content: bytes, *, timeout: float) -> bool:
        """Write a file if its content is `seen`, under the guard."""
        digest = "-" if seen is None else hashlib.sha256(seen).hexdigest()
        arguments = self._checked(name), size_of(content), digest, str(round(timeout))
        return self._change("replace", *arguments, payload=content, wait=timeout).result == "done"

    def end_sessions(self, token: int) -> None:
        """End the SSH sessions through which calls with older tokens were let."""
        answer = run(self.shell, ["sessions"], "end-sessions", str(token), timeout=_END)
        if answer.result == "busy":
            raise busy(self.shell.address)
        if answer.result != "done":
            raise refused(self.shell.address, answer)

    def _content(self, verb: str, name: str) -> bytes | None:
        answer = look(self.shell, ["store"], verb, name, timeout=_READ, limit=_LIMIT)
        if answer.result == "absent":
            return None
        if answer.result != "content":
            raise HostUnreachable(f"Host {self.shell.address} cannot be read: {answer.text}.")
        try:
            return answer.content
        except ValueError as error:
            raise HostUnreachable(f"Host {self.shell.address} cannot be read: {error}.") from error

    def _change(self, verb: str, *arguments: str, payload: bytes, wait: float = 0) -> Answer:
        answer = run(self.shell, ["store"], verb, *arguments, payload=payload, timeout=_WRITE + wait)
        if answer.result == "busy":
            raise busy(self.shell.address)
        if answer.result not in ("done", "differs"):
            raise refused(self.shell.address, answer)
        return answer

    def _checked(self, name: str) -> str:
        if not STORE_NAME.fullmatch(name):
            raise HostRefused(f"{name!r} is not a name in the directory of host {self.shell.address}.")
        return name


@dataclass(frozen=True, slots=True)
class SeenStore:
    """Implements `StoreReader`: what a look at a host has read there already; what it has not, is read now.

    `seen` has contents, names in directories, and None for what was not there.
    """

    seen: Mapping[str, bytes | tuple[str, ...] | None]
    store: RemoteStore

    def read(self, name: str) -> bytes | None:
        """Return a file's content, None when there is none."""
        content = self.seen.get(name, ())
        return self.store.read(name) if isinstance(content, tuple) else content

    def names(self, directory: str) -> tuple[str, ...]:
        """Return the names in a directory, sorted; half-written files are left out."""
        names = self.seen.get(directory, b"")
        return self.store.names(directory) if isinstance(names, bytes) else names or ()


def busy(address: str) -> HostRefused:
    """Return the error for a guard that somebody else holds."""
    return HostRefused(
        f"Host {address} is busy: another effect holds its guard.", hint="Wait until the other run is done."
    )
