"""Taking from a source while what was taken before is worked on."""

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final, TypeVar

T = TypeVar("T")

MOST: Final = 64
"""Messages that may wait: of a snapshot 2 MiB."""
_POLL: Final = 0.2
_END: Final = 10.0


def taken_ahead(source: Iterator[T], end: Callable[[], object]) -> Iterator[T]:
    """Yield what the source yields, which a thread takes from it, and raise what it raises.

    `end` is called when no more is wanted; it must let the source come to its end wherever that waits.
    """
    waiting: queue.Queue[tuple[T] | BaseException | None] = queue.Queue(MOST)
    over = threading.Event()

    def put(one: tuple[T] | BaseException | None) -> None:
        while not over.is_set():
            with suppress(queue.Full):
                waiting.put(one, timeout=_POLL)
                return

    def take() -> None:
        try:
            for one in source:
                put((one,))
                if over.is_set():
                    return
        except BaseException as error:  # noqa: BLE001 - raised where the rest is yielded
            put(error)
        else:
            put(None)

    thread = threading.Thread(target=take, name="taken ahead", daemon=True)
    thread.start()
    try:
        while (one := waiting.get()) is not None:
            if isinstance(one, BaseException):
                raise one
            yield one[0]
    finally:
        over.set()
        end()
        thread.join(_END)
