"""Time that only a test moves."""

import heapq
from collections.abc import Callable
from itertools import count

START = 1_767_225_600.0
"""2026-01-01T00:00:00Z, in unix seconds."""


class VirtualClock:
    """A clock and its timers. `time`, `monotonic` and `sleep` stand in for those of the module `time`."""

    def __init__(self, start: float = START) -> None:
        self.now = start
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()

    def time(self) -> float:
        """Return unix seconds."""
        return self.now

    def monotonic(self) -> float:
        """Return seconds that never go back; here the same as `time`."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let time pass; whatever is due meanwhile happens, in order."""
        end = self.now + max(seconds, 0.0)
        while self._timers and self._timers[0][0] <= end:
            when, _, action = heapq.heappop(self._timers)
            self.now = max(self.now, when)
            action()
        self.now = end

    def at(self, when: float, action: Callable[[], None]) -> None:
        """Call `action` when the time has come; at once is not sooner than the next `sleep`."""
        heapq.heappush(self._timers, (when, next(self._order), action))
