"""How many sessions a connection carries at once: as many as its server lets it, or fewer."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

T = TypeVar("T")

MOST: Final = 8
"""sshd's MaxSessions is 10 by default."""
_CLEARED, _POLL = 5.0, 0.02


class Sessions:
    """The sessions of one connection. A server that takes fewer than `MOST` is found out when it refuses one."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._most = MOST
        self._open = 0
        self._inside: set[int] = set()
        self._together = 0

    @contextmanager
    def one(self, deadline: float) -> Iterator[None]:
        """Have room for one session; raise `TimeoutError`."""
        with self._condition:
            if not self._condition.wait_for(
                lambda: self._open < self._most, timeout=max(0.0, deadline - time.monotonic())
            ):
                raise TimeoutError
            self._open += 1
        try:
            yield
        finally:
            with self._condition:
                self._open -= 1
                self._inside.discard(threading.get_ident())
                self._condition.notify_all()

    def opened(self, open_: Callable[[], T], refused: type[Exception], deadline: float) -> T:
        """Open a session that there is room for. One that is refused is tried again when another one has ended.

        What is `refused` while there is no other one, or until the deadline, is raised.
        """
        alone_until: float | None = None
        while True:
            others = self._open - 1
            try:
                opened = open_()
                self._entered()
                return opened
            except refused:
                if others < 1:
                    # The server may still be busy with the end of the one before: sshd has room again only after it
                    # has looked at all that came with that end, and this request may have come with it.
                    alone_until = alone_until or min(deadline, time.monotonic() + _CLEARED)
                    if not self._together or time.monotonic() >= alone_until:
                        raise
                    time.sleep(_POLL)
                    continue
                alone_until = None  # From here on it is again somebody else's end that makes room.
                with self._condition:
                    self._most = max(1, self._together)
                    # The place of this one is given up until there is room again.
                    self._open -= 1
                    self._condition.notify_all()
                    room = self._condition.wait_for(
                        lambda: self._open < self._most, timeout=max(0.0, deadline - time.monotonic())
                    )
                    self._open += 1
                if not room:
                    raise

    def _entered(self) -> None:
        """Note how many there were at once: so many there may be, whatever was refused while some were just ending."""
        with self._condition:
            self._inside.add(threading.get_ident())
            self._together = max(self._together, len(self._inside))
            if self._together > self._most:
                self._most = self._together
                self._condition.notify_all()
