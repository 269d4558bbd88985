"""The lock's heartbeat: others see by it that its holder lives."""

from threading import Event, Thread
from types import TracebackType
from typing import Self

from etcdplan.apply.lock import STALE_AFTER, Lock
from etcdplan.hosts.ports import Fenced


class Heartbeat:
    """Beats in a thread while the context is open. When another holder came it stops; `Lock.check` then says so."""

    def __init__(self, lock: Lock, interval: float = 5.0) -> None:
        self._lock = lock
        self._interval = interval
        self._stop = Event()
        self._thread = Thread(target=self._run, name="heartbeat", daemon=True)

    @property
    def running(self) -> bool:
        """Whether it still beats."""
        return self._thread.is_alive()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(timeout=STALE_AFTER)

    def _run(self) -> None:
        while not self._stop.wait(self._interval):
            try:
                self._lock.beat()
            except Fenced:
                return
