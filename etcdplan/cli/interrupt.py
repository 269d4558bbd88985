"""Ctrl-C and SIGTERM: the first stops at the next checkpoint, the second at once.

SIGHUP only ever asks: one lost terminal sends it more than once.
"""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interruptible(tell: Callable[[bool], None]) -> Iterator[Callable[[], bool]]:
    """Give a function that says whether to stop; `tell` is called at each signal, with whether it came again."""
    asked = False

    def handle(number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        again, asked = asked, True
        if again and number == signal.SIGHUP:
            return
        tell(again)
        if again:
            os._exit(130)

    heard = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        # nohup ignores it so that what it starts goes on.
        heard.append(signal.SIGHUP)
    before = {number: signal.signal(number, handle) for number in heard}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
