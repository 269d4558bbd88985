"""Writers in the background, and an honest account of what they noticed.

They go through `python3-etcd3`, as a user's program would. It takes one deadline for all calls of a client, and after a
failure it shuns an endpoint for five minutes unless told otherwise; both suit writers that have a client each for every
endpoint, and move on by themselves.
"""

import itertools
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from etcdplan.lab.errors import LabError

WRITERS = 20
DEADLINE = 0.5
"""Seconds that a write may take; with `WRITERS` it is part of the definition of the write gap."""

_PAUSE = 0.05
_SHUN = 1.0
_PAGE = 1000
_VERIFY_DEADLINE = 5.0
_ATTEMPTS = 10
_JOIN = 30.0

_OPTIONS = (
    # A connection for each writer and endpoint, which comes back as soon as its etcd does.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 100),
    ("grpc.enable_http_proxy", 0),
)


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """What the writers show and trust: paths of PEM files."""

    ca: Path
    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class WriteReport:
    """What was noticed so far, in seconds where it is about time.

    `acknowledged` writes were confirmed by etcd. `failed` ones were not: refused, or without an answer within the
    deadline, so that they may or may not be there. `longest_gap` is the longest interval in which no writer got an
    acknowledgement, the beginning and the end of the writing included; `slowest` is the longest single request.
    """

    acknowledged: int
    failed: int
    longest_gap: float
    slowest: float
    duration: float


class Writers:
    """Puts keys of its own, from many threads, until it is left.

    `endpoints` are client URLs; each writer uses one after the other, and leaves one that failed out for a second.
    Raises `LabError` when the client library is not installed.
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        *,
        tls: TlsFiles | None,
        writers: int = WRITERS,
        deadline: float = DEADLINE,
        pause: float = _PAUSE,
    ) -> None:
        self._connect = _connector(tls)
        self._endpoints = tuple(endpoints)
        self._deadline = deadline
        self._pause = pause
        self._prefix = f"etcdplan-lab/{secrets.token_hex(8)}"
        self._acknowledged: list[list[int]] = [[] for _ in range(writers)]
        self._threads = [
            threading.Thread(target=self._run, args=(number,), name=f"writer-{number}", daemon=True)
            for number in range(writers)
        ]
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._failed = 0
        self._slowest = 0.0
        self._longest_gap = 0.0
        self._began = self._last = self._ended = 0.0
        self._fault: BaseException | None = None

    def __enter__(self) -> Self:
        self._began = self._last = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> WriteReport:
        """Let the writers end their requests, and return the final report; may be repeated."""
        with self._lock:
            if not self._stop.is_set():
                self._ended = time.monotonic()
            self._stop.set()
        for thread in self._threads:
            thread.join(_JOIN)
        if self._fault is not None:
            raise self._fault
        return self.report()

    def report(self) -> WriteReport:
        """Return what was noticed so far."""
        with self._lock:
            now = self._ended if self._stop.is_set() else time.monotonic()
            return WriteReport(
                acknowledged=sum(map(len, self._acknowledged)),
                failed=self._failed,
                longest_gap=max(self._longest_gap, now - self._last),
                slowest=self._slowest,
                duration=now - self._began,
            )

    def lost(self, endpoints: Sequence[str] | None = None) -> int:
        """Read every acknowledged write back, through quorum, and return how many are not as they were written.

        `endpoints` are those of the cluster now. Raises `LabError` when none of them answers.
        """
        lost = 0
        for writer, acknowledged in enumerate(self._acknowledged):
            there = self._read_back(writer, endpoints or self._endpoints)
            with self._lock:
                lost += sum(there.get(number) != _value(number) for number in acknowledged)
        return lost

    def _run(self, writer: int) -> None:
        ring = deque(self._endpoints)
        ring.rotate(-writer)
        shunned = dict.fromkeys(self._endpoints, 0.0)
        clients: dict[str, Any] = {}
        try:
            for number in itertools.count():
                if self._stop.is_set():
                    return
                for _ in range(len(ring)):
                    ring.rotate(-1)
                    if shunned[ring[0]] <= time.monotonic():
                        break
                endpoint = ring[0]
                if endpoint not in clients:
                    clients[endpoint] = self._connect(endpoint, self._deadline)
                if not self._put(clients[endpoint], writer, number):
                    shunned[endpoint] = time.monotonic() + _SHUN
                self._stop.wait(self._pause)
        except BaseException as fault:  # noqa: BLE001 - a thread's error is the report's
            self._fault = fault
        finally:
            for client in clients.values():
                client.close()

    def _put(self, client: Any, writer: int, number: int) -> bool:
        began = time.monotonic()
        try:
            client.put(self._key(writer, number), _value(number))
            acknowledged = True
        except _failures():
            acknowledged = False
        now = time.monotonic()
        with self._lock:
            self._slowest = max(self._slowest, now - began)
            if not acknowledged:
                self._failed += 1
                return False
            self._acknowledged[writer].append(number)
            if not self._stop.is_set():
                self._longest_gap = max(self._longest_gap, now - self._last)
                self._last = now
            return True

    def _read_back(self, writer: int, endpoints: Sequence[str]) -> dict[int, bytes]:
        there: dict[int, bytes] = {}
        start, end = self._key(writer, 0), self._key(writer + 1, 0)
        failures = 0
        for endpoint in itertools.cycle(endpoints):
            client = self._connect(endpoint, _VERIFY_DEADLINE)
            try:
                while True:
                    page = list(client.get_range(start, end, limit=_PAGE, sort_order="ascend"))
                    there.update((_number(found.key), value) for value, found in page)
                    if len(page) < _PAGE:
                        return there
                    start = page[-1][1].key.decode() + "\0"
            except _failures():
                failures += 1
                if failures == _ATTEMPTS:
                    break
            finally:
                client.close()
        raise LabError(f"None of {', '.join(endpoints)} lets its keys be read.")

    def _key(self, writer: int, number: int) -> str:
        return f"{self._prefix}/{writer:04}/{number:012}"


def _value(number: int) -> bytes:
    return f"value {number}".encode()


def _number(key: bytes) -> int:
    return int(key.rpartition(b"/")[2])


def _failures() -> tuple[type[Exception], ...]:
    """Return what a call raises that etcd refused or did not answer in time."""
    import etcd3

    from etcdplan.transport.quiet_grpc import grpc

    return etcd3.exceptions.Etcd3Exception, grpc.RpcError


def _connector(tls: TlsFiles | None) -> Callable[[str, float], Any]:
    """Return how a client of an endpoint with a deadline is made."""
    from etcdplan.transport import quiet_grpc  # noqa: F401 - it sets gRPC up before the library loads it

    try:
        import etcd3
    except ImportError as error:
        raise LabError(
            "The writers need the package python3-etcd3.", hint="pip install 'etcdplan[lab]' brings it."
        ) from error

    credentials = (
        etcd3.MultiEndpointEtcd3Client.get_secure_creds(str(tls.ca), str(tls.key), str(tls.certificate))
        if tls
        else None
    )

    def connect(url: str, deadline: float) -> Any:
        parts = urlsplit(url)
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        # time_retry=0: a failed endpoint may be used again at once.
        endpoint = etcd3.Endpoint(
            host=host, port=parts.port, secure=tls is not None, creds=credentials, time_retry=0, opts=_OPTIONS
        )
        return etcd3.MultiEndpointEtcd3Client(endpoints=[endpoint], timeout=deadline)

    return connect
