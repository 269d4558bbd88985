"""Which of some servers are away, noted all the while in which something else is done."""

import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager


@contextmanager
def watched(
    names: Collection[str], is_away: Callable[[str], bool], *, every: float
) -> Iterator[list[frozenset[str]]]:
    """Look again after so many seconds; the list has each combination of those that are away once in a row."""
    seen: list[frozenset[str]] = []
    stop = threading.Event()

    def watch() -> None:
        while not stop.is_set():
            away = frozenset(filter(is_away, names))
            if seen[-1:] != [away]:
                seen.append(away)
            stop.wait(every)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join(30)
