"""A limit for the silence between two messages of a stream, which gRPC has no deadline for."""

import threading
import time
from collections.abc import Iterator
from typing import Any


def until_silent(call: Any, stall: float) -> Iterator[Any]:
    """Yield the messages of a gRPC call; cancel it when the next one is not there within `stall` seconds.

    The time that the caller takes between two messages does not count. A cancelled call raises `grpc.RpcError`.
    """
    asked: float | None = None
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(stall / 8):
            since = asked
            if since is not None and time.monotonic() - since > stall:
                call.cancel()
                return

    watcher = threading.Thread(target=watch, name="snapshot silence", daemon=True)
    watcher.start()
    try:
        messages = iter(call)
        while True:
            asked = time.monotonic()
            message = next(messages, None)
            asked = None
            if message is None:
                return
            yield message
    finally:
        ended.set()
