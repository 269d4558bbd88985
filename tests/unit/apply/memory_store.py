"""A `HostStore` in memory, whose every call a test can see, delay or break."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from etcdplan.hosts.ports import HostRefused, HostUnreachable


@dataclass
class MemoryStore:
    """Shared by all who contend for it; `called` runs before every call, with the call's name."""

    address: str
    files: dict[str, bytes] = field(default_factory=dict)
    up: bool = True
    full: bool = False
    guarded: bool = False
    ended: list[int] = field(default_factory=list)
    called: Callable[[str], None] = lambda _: None

    def _call(self, name: str) -> None:
        self.called(name)
        if not self.up:
            raise HostUnreachable(f"{self.address} does not answer.")

    def read(self, name: str) -> bytes | None:
        self._call("read")
        return self.files.get(name)

    def names(self, directory: str) -> tuple[str, ...]:
        self._call("names")
        return tuple(
            sorted(name.rpartition("/")[2] for name in self.files if name.startswith(directory + "/"))
        )

    def write(self, name: str, content: bytes) -> None:
        self._call("write")
        if self.full:
            raise HostRefused(f"{self.address} has no space left.")
        self.files[name] = content

    def append(self, name: str, content: bytes) -> None:
        self.write(name, self.files.get(name, b"") + content)

    def replace(self, name: str, seen: bytes | None, content: bytes, *, timeout: float) -> bool:
        self._call("replace")
        with self.exclusive(timeout=timeout):
            if self.files.get(name) != seen:
                return False
            self.write(name, content)
            return True

    def end_sessions(self, token: int) -> None:
        self._call("end_sessions")
        self.ended.append(token)

    @contextlib.contextmanager
    def exclusive(self, *, timeout: float) -> Iterator[None]:
        while self.guarded:
            if timeout <= 0:
                raise HostRefused(f"{self.address} is busy.")
            timeout -= 0.01
            self._call("guard")
        self.guarded = True
        try:
            yield
        finally:
            self.guarded = False
