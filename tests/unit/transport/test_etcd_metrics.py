"""What an etcd has measured: read from its text, and from servers that answer well, badly or never."""

import gzip
import socket
import threading
from collections.abc import Callable

import pytest

from etcdplan.model.machine import Figures
from etcdplan.transport.etcd_metrics import COMMIT, DATABASE, ENOUGH, FSYNC, ROUND_TRIP, figures, measure


def histogram(name: str, *counts: tuple[str, int]) -> str:
    """Return a histogram's lines; counts are cumulative."""
    lines = [f'{name}_bucket{{le="{bound}"}} {count}\n' for bound, count in counts]
    return "".join([f"# HELP {name} x\n# TYPE {name} histogram\n", *lines, f"{name}_sum 1\n{name}_count 1\n"])


def trip(to: str, total: float, count: int) -> str:
    return f'{ROUND_TRIP}_sum{{To="{to}"}} {total}\n{ROUND_TRIP}_count{{To="{to}"}} {count}\n'


SIZE = f"{DATABASE} 2.0971520e+07\n"
NONE = Figures(20971520, None, None, None)


@pytest.mark.parametrize(
    ("counts", "percentile"),
    [
        ([("0.001", 1000), ("+Inf", 1000)], 0.00099),
        ([("0.001", 0), ("0.002", 100), ("+Inf", 100)], 0.00199),
        ([("0.008", 980), ("0.016", 1000), ("+Inf", 1000)], 0.012),
        # More than one of a hundred is beyond the last bound.
        ([("4.096", 900), ("8.192", 980), ("+Inf", 1000)], 8.192),
        ([("0.001", ENOUGH - 1), ("+Inf", ENOUGH - 1)], None),
        ([], None),
    ],
)
def test_percentile(counts: list[tuple[str, int]], percentile: float | None) -> None:
    read = figures(SIZE + histogram(FSYNC, *counts))
    assert read.fsync == (None if percentile is None else pytest.approx(percentile))
    assert figures(SIZE + histogram(COMMIT, *counts)).commit == read.fsync
    assert read.commit is None


def test_the_longest_average_round_trip_counts_once_there_are_a_few() -> None:
    assert figures(
        SIZE + trip("a", 0.4, 4) + trip("b", 1.0, 5) + trip("c", 9.0, 3)
    ).round_trip == pytest.approx(0.2)
    assert figures(SIZE + trip("a", 0.3, 3)).round_trip is None


def test_the_rest_is_passed_over() -> None:
    assert figures(f"# HELP\ngo_gc 1\n{SIZE}{DATABASE}_x 3\n") == NONE


@pytest.mark.parametrize(
    "line", [f"{FSYNC}_bucket", f"{DATABASE} much", f'{FSYNC}_bucket{{le="x"}} 1', f"{DATABASE} NaN", ""]
)
def test_nonsense_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        figures(line)


def served(answer: Callable[[socket.socket], object], *, timeout: float = 10) -> object:
    """Measure at a server that answers one connection so; return figures, or why there are none."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1 << 16)
                answer(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        port = server.getsockname()[1]
        fact = measure(f"http://127.0.0.1:{port}", None, timeout=timeout)
        thread.join(20)
    return fact.why if fact.is_unknown else fact.value


OK = b"HTTP/1.0 200 OK\r\nContent-Encoding: gzip\r\nContent-Type: text/plain\r\n\r\n"
BODY = f"{DATABASE} 42\n".encode()


def test_an_answer_packed_and_plain() -> None:
    packed = gzip.compress(BODY)
    assert served(lambda c: c.sendall(OK + packed)) == Figures(42, None, None, None)
    assert served(lambda c: c.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + BODY)) == Figures(42, None, None, None)


def pour(connection: socket.socket) -> None:
    """Send without end."""
    try:
        connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n")
        while True:
            connection.sendall(b"x 1\n" * 100_000)
    except OSError:
        pass


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (lambda c: None, "it answers"),
        (lambda c: c.sendall(b"HTTP/1.0 404 Not Found\r\n\r\n"), "404"),
        (lambda c: c.sendall(b"\x15\x03\x01\x00\x02\x02"), "it answers"),
        (lambda c: c.sendall(OK + b"not packed"), "incorrect header"),
        (lambda c: c.sendall(OK + gzip.compress(BODY)[:-9]), "too early"),
        (lambda c: c.sendall(OK + gzip.compress(bytes(64 << 20))), "no end"),
        (pour, "no end"),
    ],
    ids=["silence", "not found", "TLS", "not packed", "cut", "bomb", "endless"],
)
def test_a_bad_answer_is_unknown(answer: Callable[[socket.socket], object], why: str) -> None:
    said = served(answer)
    assert isinstance(said, str)
    assert said.startswith("its /metrics cannot be read: ")
    assert why in said


def test_a_server_that_never_answers_is_unknown_in_time() -> None:
    assert served(lambda c: c.recv(1), timeout=0.2) == "its /metrics cannot be read: timed out"


def test_nobody_there_is_unknown() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert measure(f"http://127.0.0.1:{port}", None, timeout=5).is_unknown
    assert measure("unix://x", None, timeout=5).is_unknown
