"""etcd's write-ahead log, as bytes: what its records say, and the log of a private copy made one of another cluster.

A segment is frames of eight bytes and a record each, then zeros. The CRC (CRC-32C) of a record is over its data and
those of all records before, so it is checked from one record to the next. Sources: etcd `server/storage/wal`
(`decoder.go`, `encoder.go`, `wal.go`), `walpb.Record`, `raftpb.HardState`, `raftpb.Entry`, `etcdserverpb.Metadata`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Final

METADATA: Final = 1
ENTRY: Final = 2
STATE: Final = 3
CRC: Final = 4
SNAPSHOT: Final = 5

_SEGMENT = re.compile(r"[0-9a-f]{16}-([0-9a-f]{16})\.wal")
_POLYNOMIAL: Final = 0x82F63B78
_FRAME: Final = 8


@dataclass(frozen=True, slots=True)
class WalRecord:
    """One record. `data` is None where it has none; `end` is the offset in the segment of what comes after."""

    kind: int
    crc: int
    data: bytes | None
    end: int


@dataclass(frozen=True, slots=True)
class LogEnd:
    """How far a member's log goes.

    Everything up to the index `commit` is known there to be agreed on; `last` is the index of the last entry, of the
    term `last_term`, 0 where the newest segment has none. `whole` is False when there is damage behind that.
    """

    commit: int
    last_term: int
    last: int
    whole: bool = True

    @property
    def order(self) -> tuple[int, int, int]:
        """Return what tells the best survivor: the greatest knows of the most."""
        return self.commit, self.last_term, self.last


def log_end(name: str, segment: bytes) -> LogEnd:
    """Return how far a log goes, given its newest segment and that one's name; raise `ValueError` when it has none.

    The newest segment is enough: etcd begins each one with the hard state (wal.go, cut), and names it after the index
    of its first entry.
    """
    if not (match := _SEGMENT.fullmatch(name)):
        raise ValueError(f"{name!r} is no segment of a log")
    commit, last_term, last = None, 0, max(int(match[1], 16) - 1, 0)
    crc, end, whole = 0, 0, True
    for record in records(segment):
        # Of entries only the CRC is taken over: they are long, and what is agreed on is in the hard states.
        if record.kind in (STATE, SNAPSHOT) and crc32c(crc, record.data or b"") != record.crc:
            whole = False
            break
        crc, end = record.crc, record.end
        try:
            said = dict(fields(record.data or b""))
        except ValueError:
            whole = record.kind == METADATA
            break
        if record.kind == STATE:
            commit = _number(said, 3)
        elif record.kind == ENTRY:
            last_term, last = _number(said, 2), _number(said, 3)
        elif record.kind == SNAPSHOT and (index := _number(said, 1)) > last:
            last_term, last = _number(said, 2), index
    if commit is None:
        raise ValueError("no hard state is in its newest segment")
    return LogEnd(commit, last_term, last, whole and not segment[end:].strip(b"\0"))


def records(segment: bytes) -> Iterator[WalRecord]:
    """Yield the records of a segment up to its end, or to the first thing that is none."""
    offset = 0
    while True:
        try:
            said, after = record_fields(segment, offset)
            data = said.get(3)
            if isinstance(data, int):
                return
            offset = after
            yield WalRecord(_number(said, 1), _number(said, 2) & 0xFFFFFFFF, data, after)
        except ValueError:
            return


def record_fields(segment: bytes, offset: int) -> tuple[dict[int, int | bytes], int]:
    """Return the fields of the record at an offset, and the offset after it; raise `ValueError` where there is none."""
    frame = int.from_bytes(segment[offset : offset + _FRAME], "little")
    # The lower 56 bits are the record's length; with the top bit set, the top byte's three lowest are the padding.
    length = frame & ((1 << 56) - 1)
    padding = (frame >> 56) & 7 if frame >> 63 else 0
    start, end = offset + _FRAME, offset + _FRAME + length
    if not 0 < length <= len(segment) - start:
        raise ValueError("no record")
    return dict(fields(segment[start:end])), end + padding


def in_another_cluster(segment: bytes, passed: int) -> tuple[bytes, int]:
    """Return the segment as that of a member of another cluster, and what to pass with the next segment; 0 at first.

    For private copies: whoever opens one with the old identity is taken for the member by the others, and they for its
    own. Nothing but the cluster's ID is changed, by a bit; the CRCs follow from the old ones (they are linear), so what
    is damaged stays so. Raises `ValueError` when it is no log.
    """
    written, end, known = [], 0, False
    for record in records(segment):
        data = record.data
        if data is not None:
            passed = _past(passed, len(data))
        if record.kind == METADATA:
            data, changed = _other_cluster(data or b"")
            passed, known = passed ^ changed, True
        end = record.end
        written.append(_framed(record.kind, record.crc ^ passed, data))
    if not known:
        raise ValueError("a segment of the log does not say whose it is")
    return b"".join([*written, segment[end:]]), passed


def _other_cluster(metadata: bytes) -> tuple[bytes, int]:
    """Return a record's metadata with the cluster ID changed by its lowest bit, and what that does to the CRC."""
    member, position = _varint(metadata, 1)
    if metadata[:1] != b"\x08" or metadata[position : position + 1] != b"\x10" or not member:
        raise ValueError("the log does not say whose it is")
    place = position + 1
    other = bytes([*metadata[:place], metadata[place] ^ 1, *metadata[place + 1 :]])
    return other, crc32c(0, metadata) ^ crc32c(0, other)


def _framed(kind: int, crc: int, data: bytes | None) -> bytes:
    body = b"\x08" + _encoded(kind) + b"\x10" + _encoded(crc)
    if data is not None:
        body += b"\x1a" + _encoded(len(data)) + data
    padding = -len(body) % _FRAME
    frame = len(body) | (((0x80 | padding) << 56) if padding else 0)
    return frame.to_bytes(_FRAME, "little") + body + b"\0" * padding


def crc32c(crc: int, data: bytes) -> int:
    """Go on with a CRC over more data."""
    table, crc = _table(), crc ^ 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


@cache
def _table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (_POLYNOMIAL if byte & 1 else 0)
        table.append(byte)
    return tuple(table)


def _past(difference: int, length: int) -> int:
    """Return what becomes of a difference between two CRCs when so many equal bytes are added to both."""
    power = 0
    while length and difference:
        if length & 1:
            difference = _applied(_zeros(power), difference)
        length, power = length >> 1, power + 1
    return difference


@cache
def _zeros(power: int) -> tuple[int, ...]:
    """Return what 2^power zero bytes make of each bit of a difference."""
    if power == 0:
        return tuple(_table()[(1 << bit) & 0xFF] ^ ((1 << bit) >> 8) for bit in range(32))
    half = _zeros(power - 1)
    return tuple(_applied(half, column) for column in half)


def _applied(columns: tuple[int, ...], value: int) -> int:
    result = 0
    while value:
        low = value & -value
        result ^= columns[low.bit_length() - 1]
        value ^= low
    return result


def fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield number and value of a protobuf message's fields; varints and bytes are all that these messages have."""
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        value, position = _varint(message, position)
        if key & 7 == 0:
            yield key >> 3, value
        elif key & 7 == 2 and value <= len(message) - position:
            yield key >> 3, message[position : position + value]
            position += value
        else:
            raise ValueError("not one of these messages")


def _number(said: dict[int, int | bytes], field: int) -> int:
    """Return a field's number, 0 when it is left out."""
    value = said.get(field, 0)
    if not isinstance(value, int):
        raise ValueError("not a number")
    return value


def _varint(message: bytes, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(message):
            break
        byte = message[position]
        value |= (byte & 0x7F) << shift
        position += 1
        if byte < 0x80:
            return value & ((1 << 64) - 1), position
    raise ValueError("not a number")


def _encoded(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])
