"""How many sessions a connection carries at once, when its server says no."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Final

import pytest

from etcdplan.transport import ssh_sessions
from etcdplan.transport.ssh_sessions import MOST, Sessions


class Refused(Exception):
    pass


class Server:
    """Lets so many in at once."""

    def __init__(self, limit: int) -> None:
        self.limit: Final = limit
        self.refused = self.inside = self.most = 0
        self.all_here: Callable[[], object] = lambda: None
        self._lock = threading.Lock()

    def enter(self) -> None:
        with self._lock:
            if self.inside >= self.limit:
                self.refused += 1
                raise Refused
            self.inside += 1
            self.most = max(self.most, self.inside)

    def use(self, sessions: Sessions, deadline: float) -> None:
        with sessions.one(deadline):
            sessions.opened(self.enter, Refused, deadline)
            self.all_here()
            with self._lock:
                self.inside -= 1


@pytest.mark.parametrize("limit", [1, 2, 5, MOST, 100])
def test_what_a_server_refuses_is_done_when_another_one_has_ended(limit: int) -> None:
    server, sessions = Server(limit), Sessions()
    together = threading.Barrier(min(limit, MOST))
    server.all_here = lambda: together.wait(20)
    with ThreadPoolExecutor(5 * MOST) as pool:
        list(pool.map(lambda _: server.use(sessions, time.monotonic() + 30), range(5 * MOST)))
    assert server.most == min(limit, MOST)
    assert server.inside == 0
    before = server.refused
    with ThreadPoolExecutor(5 * MOST) as pool:
        list(pool.map(lambda _: server.use(sessions, time.monotonic() + 30), range(5 * MOST)))
    assert server.refused == before, "it is known by now"


def test_only_refusals_since_the_last_end_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """sshd refuses who comes with the end of the one before; others' turns in between may take as long as they like."""
    monkeypatch.setattr(ssh_sessions, "_CLEARED", 0.2)
    sessions, deadline, other = Sessions(), time.monotonic() + 30, ExitStack()
    tries = 0

    def open_() -> None:
        nonlocal tries
        tries += 1
        if tries == 2:
            other.enter_context(sessions.one(deadline))
        if tries == 3:
            threading.Timer(0.4, other.close).start()
        if 1 <= tries <= 4:
            raise Refused

    with sessions.one(deadline):
        sessions.opened(lambda: None, Refused, deadline)
        sessions.opened(open_, Refused, deadline)
    assert tries == 5


def test_a_server_that_lets_nobody_in() -> None:
    server, sessions = Server(0), Sessions()
    with pytest.raises(Refused):
        server.use(sessions, time.monotonic() + 30)
    with pytest.raises(Refused):
        server.use(sessions, time.monotonic() + 30)


def test_nobody_waits_longer_than_he_may() -> None:
    server, sessions = Server(1), Sessions()
    with sessions.one(time.monotonic() + 30):
        sessions.opened(server.enter, Refused, time.monotonic() + 30)
        with pytest.raises(Refused):
            server.use(sessions, time.monotonic() + 0.1)
        with pytest.raises(TimeoutError):
            server.use(sessions, time.monotonic() + 0.1)
