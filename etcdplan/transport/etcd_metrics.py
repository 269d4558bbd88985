"""What an etcd has measured of itself: its `/metrics`, on the client URL, read once and within a deadline."""

import os
import re
import socket
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from etcdplan.model.facts import Fact, known, unknown
from etcdplan.model.machine import Figures
from etcdplan.transport.etcd import Credentials

if TYPE_CHECKING:
    import ssl

_LIMIT: Final = 8 << 20
"""Bytes that are read at most, packed or not; etcd's own are some 200 KiB."""

FSYNC: Final = "etcd_disk_wal_fsync_duration_seconds"
COMMIT: Final = "etcd_disk_backend_commit_duration_seconds"
ROUND_TRIP: Final = "etcd_network_peer_round_trip_time_seconds"
DATABASE: Final = "etcd_mvcc_db_total_size_in_bytes"
"""etcd `server/storage/wal/metrics.go`, `storage/backend`, `etcdserver/api/rafthttp`, `storage/mvcc`."""

ENOUGH: Final = 100
"""Values below which a 99th percentile says nothing."""
ENOUGH_ROUND_TRIPS: Final = 4
"""etcd notes one for each of two ways to a peer every 30 s, and the first ones are of connections just made."""

_SAMPLE = re.compile(r"(\w+?)(_bucket|_sum|_count)?(?:\{([^}]*)\})? (\S+)$")
_LABEL = re.compile(r'(\w+)="([^"]*)"')


def measure(
    client_url: str,
    credentials: Credentials | None,
    *,
    timeout: float,
    dial: Callable[[float], socket.socket] | None = None,
) -> Fact[Figures]:
    """Return what the etcd at a client URL has measured; unknown when it cannot be read within `timeout` seconds.

    `dial` connects to where the URL leads, within seconds; without it the URL itself is dialled.
    """
    name = f"metrics of {client_url}"
    deadline = time.monotonic() + timeout
    try:
        url = urlsplit(client_url)
        if not url.hostname or not url.port:
            return unknown(name, f"{client_url} is not a client URL")
        where = (url.hostname, url.port)
        raw = dial(timeout) if dial else socket.create_connection(where, timeout)
        raw.settimeout(_left(deadline))
        with raw, _secured(raw, url.hostname, credentials if url.scheme == "https" else None) as connection:
            request = f"GET /metrics HTTP/1.0\r\nHost: {url.netloc}\r\nAccept-Encoding: gzip\r\n\r\n"
            connection.settimeout(_left(deadline))
            connection.sendall(request.encode())
            return known(figures(_body(_all(connection, deadline))), seen=client_url)
    except (OSError, ValueError, zlib.error) as error:
        return unknown(name, f"its /metrics cannot be read: {str(error) or type(error).__name__}")


def figures(text: str) -> Figures:
    """Return the figures in a text of metrics (Prometheus' format); raise `ValueError` for what etcd does not write."""
    buckets: dict[str, dict[float, float]] = {FSYNC: {}, COMMIT: {}}
    trips: dict[str, dict[str, float]] = {}
    database = None
    for line in text.splitlines():
        if not line.startswith((FSYNC, COMMIT, ROUND_TRIP, DATABASE)):
            continue
        if (sample := _SAMPLE.match(line)) is None:
            raise ValueError("a line of it makes no sense")
        name, part, written, value = *sample.group(1, 2), sample[3] or "", float(sample[4])
        labels = dict(_LABEL.findall(written))
        if name in buckets and part == "_bucket":
            buckets[name][float(labels.get("le", "nan"))] = value
        elif name == ROUND_TRIP and part in ("_sum", "_count"):
            trips.setdefault(labels.get("To", ""), {})[part] = value
        elif name == DATABASE:
            database = int(value)
    if database is None:
        raise ValueError("it says nothing of a database")
    counted = [trip for trip in trips.values() if trip.get("_count", 0) >= ENOUGH_ROUND_TRIPS]
    return Figures(
        database=database,
        fsync=_percentile(buckets[FSYNC], 0.99),
        commit=_percentile(buckets[COMMIT], 0.99),
        round_trip=max((trip["_sum"] / trip["_count"] for trip in counted if "_sum" in trip), default=None),
    )


def _percentile(buckets: dict[float, float], share: float) -> float | None:
    """Return a percentile of a histogram, by straight lines within buckets as Prometheus' `histogram_quantile` does."""
    ordered = sorted(buckets.items())
    if not ordered or ordered[-1][1] < ENOUGH:
        return None
    rank, below, begin = share * ordered[-1][1], 0.0, 0.0
    for end, count in ordered:
        if count >= rank:
            # Beyond the last bound nothing is known but that.
            return begin if end == float("inf") else begin + (end - begin) * (rank - below) / (count - below)
        below, begin = count, end
    return None


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("no answer in time")
    return left


def _all(connection: socket.socket, deadline: float) -> bytes:
    answer = bytearray()
    while len(answer) < _LIMIT:
        connection.settimeout(_left(deadline))
        if not (piece := connection.recv(1 << 16)):
            return bytes(answer)
        answer += piece
    raise ValueError("it has no end")


def _body(answer: bytes) -> str:
    head, _, body = answer.partition(b"\r\n\r\n")
    status, _, headers = head.decode("latin-1").partition("\r\n")
    if status.split(" ")[1:2] != ["200"]:
        raise ValueError(f"it answers {status[:60]!r}")
    if re.search(r"^content-encoding: *gzip *\r?$", headers, re.IGNORECASE | re.MULTILINE):
        unpacker = zlib.decompressobj(wbits=31)
        body = unpacker.decompress(body, _LIMIT)
        if not unpacker.eof:
            raise ValueError("it ends too early, or has no end")
    return body.decode(errors="replace")


@contextmanager
def _secured(raw: socket.socket, host: str, credentials: Credentials | None) -> "Iterator[socket.socket]":
    if credentials is None:
        yield raw
        return
    with _context(credentials).wrap_socket(raw, server_hostname=host) as connection:
        yield connection


def _context(credentials: Credentials) -> "ssl.SSLContext":
    """Return what TLS needs; Python's takes a key from a file only, so that is one in memory that has no name."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=credentials.ca_pem.decode())
    if not hasattr(os, "memfd_create"):
        raise OSError("this system has no files in memory for the client's key")
    file = os.memfd_create("pair", os.MFD_CLOEXEC)
    try:
        os.write(file, credentials.certificate_pem + b"\n" + credentials.key.reveal())
        context.load_cert_chain(f"/proc/self/fd/{file}")
    finally:
        os.close(file)
    return context
