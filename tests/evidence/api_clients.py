"""Clients of API servers that write objects, and an honest account of what they noticed."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count

from tests.support.kubernetes import OBJECTS, ControlPlane

_PAUSE = 0.1
_TIMEOUT = 5.0


@dataclass(frozen=True)
class Failure:
    """A request that was not acknowledged; `status` 0: no answer."""

    name: str
    began: float
    ended: float
    status: int


@dataclass
class Clients:
    """One for each API server, which creates an object after the other; times are monotonic seconds."""

    plane: ControlPlane
    prefix: str
    acknowledged: set[str] = field(default_factory=set)
    failures: list[Failure] = field(default_factory=list)
    gap: float = 0.0
    _last: float = field(default_factory=time.monotonic)
    _away: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Write all the while, through each API server, and note when it is not ready."""
        do = [target for name in self.plane.servers for target in ((self._write, name), (self._watch, name))]
        threads = [threading.Thread(target=work, args=(name,), daemon=True) for work, name in do]
        self._last = time.monotonic()
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            with self._lock:
                self._stop.set()
                self.gap = max(self.gap, time.monotonic() - self._last)
            for thread in threads:
                thread.join(30)

    def beyond(self) -> list[Failure]:
        """Return the requests that failed though the API server that was asked was ready before, then and after."""
        return [
            failed
            for failed in self.failures
            if not any(
                failed.began <= end and failed.ended >= begin
                for begin, end in self._away.get(failed.name, ())
            )
        ]

    def lost(self) -> int:
        """Return how many acknowledged objects an API server does not know afterwards; the most of all of them."""
        return max(len(self.acknowledged - self.plane.objects(name)) for name in self.plane.servers)

    def _write(self, name: str) -> None:
        for number in count():
            if self._stop.is_set():
                return
            key = f"{self.prefix}-{name}-{number}"
            body = {"metadata": {"name": key}, "data": {"written": "once"}}
            began = time.monotonic()
            try:
                status, _ = self.plane.request(name, "POST", OBJECTS, body, timeout=_TIMEOUT)
            except OSError:
                status = 0
            now = time.monotonic()
            with self._lock:
                if status == 201:
                    self.acknowledged.add(key)
                    if not self._stop.is_set():
                        self.gap, self._last = max(self.gap, now - self._last), now
                elif not self._stop.is_set():
                    self.failures.append(Failure(name, began, now, status))
            self._stop.wait(_PAUSE)

    def _watch(self, name: str) -> None:
        """Not ready is an API server from when it was last seen ready until it is seen ready again."""
        ready = time.monotonic()
        while not self._stop.is_set():
            asked = time.monotonic()
            if self.plane.ready(name):
                ready = asked
            else:
                with self._lock:
                    self._away.setdefault(name, []).append((ready, float("inf")))
                while not self._stop.is_set() and not self.plane.ready(name):
                    self._stop.wait(_PAUSE)
                ready = time.monotonic()
                with self._lock:
                    self._away[name][-1] = (self._away[name][-1][0], ready)
            self._stop.wait(_PAUSE)
