"""A TCP proxy that loses replies: it sits before an etcd's client port and sees only bytes, TLS or not."""

import asyncio
import threading
from collections.abc import Callable
from enum import Enum
from typing import Self


class Mode(Enum):
    PASS = "pass"
    """Both directions flow."""
    CUT_REPLIES = "cut replies"
    """Requests reach the server, its answers are dropped."""
    BLACKHOLE = "blackhole"
    """Connections are accepted and held, and nothing flows."""


class LostReplyProxy:
    """Forwards `host`:`port` (of 127.0.0.1) to the upstream.

    `cut_replies()` is armed just before a mutating call on an established connection. Once the server has received
    something and has answered, and has then been silent for `quiet` seconds, all connections are reset and the
    proxy passes again, so that the client can reconnect and look. A test that can see the effect by another way
    passes `quiet=None` and calls `hang_up()` itself.
    """

    host = "127.0.0.1"

    def __init__(self, upstream_host: str, upstream_port: int, *, quiet: float | None = 0.5) -> None:
        self.mode = Mode.PASS
        self.cuts = 0
        """How many times armed replies were lost and the connections reset."""
        self._upstream = (upstream_host, upstream_port)
        self._quiet = quiet
        self._requested = False
        self._timer: asyncio.TimerHandle | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        server = asyncio.run_coroutine_threadsafe(asyncio.start_server(self._serve, self.host, 0), self._loop)
        self._server = server.result(10)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def cut_replies(self) -> None:
        """Lose the answers to what the client sends from now on."""
        self._do(lambda: self._set(Mode.CUT_REPLIES))

    def blackhole(self) -> None:
        """Swallow everything until `hang_up()`."""
        self._do(lambda: self._set(Mode.BLACKHOLE))

    def hang_up(self) -> None:
        """Reset all connections and pass again."""
        self._do(self._reset)

    def _do(self, action: Callable[[], None]) -> None:
        async def run() -> None:
            action()

        asyncio.run_coroutine_threadsafe(run(), self._loop).result(10)

    def _set(self, mode: Mode) -> None:
        self.mode = mode
        self._requested = False

    def _reset(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.cuts += self.mode is Mode.CUT_REPLIES
        self.mode = Mode.PASS
        for writer in self._writers:
            writer.transport.abort()

    async def _stop(self) -> None:
        self._server.close()
        self._reset()
        while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(tasks)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            upstream_reader, upstream_writer = await asyncio.open_connection(*self._upstream)
        except OSError:
            writer.transport.abort()
            return
        pair = {writer, upstream_writer}
        self._writers |= pair
        try:
            await asyncio.gather(
                self._pump(reader, upstream_writer, self._on_request),
                self._pump(upstream_reader, writer, self._on_reply),
            )
        finally:
            self._writers -= pair
            for each in pair:
                each.transport.abort()

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, passes: Callable[[], bool]
    ) -> None:
        try:
            while data := await source.read(65536):
                if passes():
                    sink.write(data)
                    await sink.drain()
            sink.write_eof()
        except (OSError, RuntimeError):
            sink.transport.abort()

    def _on_request(self) -> bool:
        self._requested = True
        return self.mode is not Mode.BLACKHOLE

    def _on_reply(self) -> bool:
        if self.mode is Mode.CUT_REPLIES and self._requested and self._quiet is not None:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_later(self._quiet, self._reset)
        return self.mode is Mode.PASS
