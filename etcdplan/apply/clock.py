"""Time, as the lock and the journal need it; the module `time` is one, tests bring their own."""

from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Tells the time and waits."""

    def time(self) -> float:
        """Return unix seconds, for people to read."""
        ...

    def monotonic(self) -> float:
        """Return seconds that only grow, for deadlines."""
        ...

    def sleep(self, seconds: float, /) -> None:
        """Wait."""
        ...


def stamp(clock: Clock) -> str:
    """Return the time as people and programs read it: `2026-01-31T12:00:00Z`."""
    return f"{datetime.fromtimestamp(clock.time(), UTC):%Y-%m-%dT%H:%M:%SZ}"
