"""etcdplan that asks before it goes on, so that a test can strike at a named step of a real run.

It asks before and after every effect ("before start 10.77.0.11 etcd"), before it takes the lock ("lock"), and before it
notes the end of its run ("end"). As a program: python -m tests.support.held SOCKET ARGUMENT...
"""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from etcdplan.hosts.processes import wait_until
from tests.support.fleet import Done, Fleet


class Held:
    """A command that waits at every boundary until it is let go on; leaving the context ends it."""

    def __init__(self, fleet: Fleet, *arguments: str | Path, **environment: str) -> None:
        place = fleet.directory / "held"
        place.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(place))
        self._listener.listen(1)
        command = (sys.executable, "-m", "tests.support.held", str(place))
        self.process: subprocess.Popen[str] = replace(fleet, command=command).start(*arguments, **environment)
        self._connection: socket.socket | None = None
        self._asks: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.communicate()
        self.free()

    def until(self, wanted: Callable[[str], bool], *, timeout: float = 120) -> str:
        """Let it go on until it asks at such a boundary, where it then waits; return the boundary."""
        deadline = time.monotonic() + timeout
        if self._connection is None:
            self._listener.settimeout(timeout)
            self._connection, _ = self._listener.accept()
            self._asks = self._connection.makefile("r")
        while True:
            self._connection.settimeout(max(0.1, deadline - time.monotonic()))
            boundary = str(self._asks.readline()).strip()
            if not boundary:
                raise AssertionError(f"it did not come that far: {self.end()}")
            if wanted(boundary):
                return boundary
            self._connection.sendall(b"\n")

    def free(self) -> None:
        """Let it go on, and ask no more."""
        if self._connection is not None:
            self._asks.close()
            self._connection.close()
        self._listener.close()

    def end(self, *, timeout: float = 300) -> Done:
        """Wait for its end."""
        out, err = self.process.communicate(timeout=timeout)
        return Done(self.process.returncode, out, err)

    def ends_within(self, seconds: float) -> bool:
        """Wait so long, or until it has ended."""
        return wait_until(lambda: self.process.poll() is not None, timeout=seconds)


class _Asks:
    """A failpoint that asks instead of dying."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection: socket.socket | None = connection
        self._lock = threading.Lock()

    def hit(self, name: str, label: str, last_words: object) -> None:
        kind, _, when = name.partition(":")
        if kind == "effect":
            self.ask(f"{when.partition(':')[2]} {label}")

    def ask(self, boundary: str) -> None:
        with self._lock:
            try:
                if self._connection is not None:
                    self._connection.sendall(f"{boundary}\n".encode())
                if self._connection is None or not self._connection.recv(1):
                    self._connection = None
            except OSError:
                self._connection = None

    def before(self, boundary: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def asking(*args: Any, **kwargs: Any) -> Any:
            self.ask(boundary)
            return call(*args, **kwargs)

        return asking


def _main() -> int:
    from etcdplan import __main__ as program
    from etcdplan.apply import session
    from etcdplan.apply.journal import Journal
    from etcdplan.cli import session as real

    if "FAKETIME" in os.environ:
        # With clocks that are set wrong by it, libfaketime refuses the call that `time.sleep` makes (EINVAL).
        vars(time)["sleep"] = lambda seconds: threading.Event().wait(seconds)
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(sys.argv.pop(1))
    asks = _Asks(connection)
    vars(real)["from_environment"] = lambda: asks
    vars(session)["acquire"] = asks.before("lock", vars(session)["acquire"])
    Journal.run_ended = asks.before("end", Journal.run_ended)  # type: ignore[method-assign]
    return program.main()


if __name__ == "__main__":
    sys.exit(_main())
