"""Ctrl-C and SIGTERM: the first stops at the next checkpoint, the second at once."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interruptible(tell: Callable[[bool], None]) -> Iterator[Callable[[], bool]]:
    """Give a function that says whether to stop; `tell` is called at each signal, with whether it came again."""
    asked = False

    def handle(_number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        again, asked = asked, True
        tell(again)
        if again:
            os._exit(130)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
