"""How far a log goes, and a log made one of another cluster. What real etcds write is in tests/integration."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etcdplan.hosts.wal import (
    CRC,
    ENTRY,
    METADATA,
    SNAPSHOT,
    STATE,
    LogEnd,
    crc32c,
    fields,
    in_another_cluster,
    log_end,
    records,
)
from tests.unit.hosts.test_data_dir import varint

FIRST = "0000000000000000-0000000000000000.wal"
THIRD = "0000000000000002-0000000000000064.wal"


def message(**numbers: int) -> bytes:
    """Encode fields that are called by their numbers, as `f1`."""
    return b"".join(varint(int(name[1:]) << 3) + varint(value) for name, value in numbers.items())


def entry(term: int, index: int, data: bytes = b"") -> tuple[int, bytes]:
    body = b"\x22" + varint(len(data)) + data if data else b""
    return ENTRY, b"\x08\x00" + message(f2=term, f3=index) + body


def state(term: int, commit: int) -> tuple[int, bytes]:
    return STATE, message(f1=term, f2=7, f3=commit)


def metadata(cluster: int = 0xCAFE, member: int = 7) -> tuple[int, bytes]:
    return METADATA, message(f1=member, f2=cluster)


def segment(*said: tuple[int, bytes], before: int = 0, zeros: int = 4096) -> bytes:
    """Return a segment that goes on with a CRC, as etcd's encoder writes it."""
    crc, out = before, b""
    for kind, data in ((CRC, b""), *said):
        crc = crc if kind == CRC else crc32c(crc, data)
        body = b"\x08" + varint(kind) + b"\x10" + varint(crc)
        body += b"" if kind == CRC else b"\x1a" + varint(len(data)) + data
        padding = -len(body) % 8
        frame = len(body) | (((0x80 | padding) << 56) if padding else 0)
        out += frame.to_bytes(8, "little") + body + bytes(padding)
    return out + bytes(zeros)


def test_the_checksum_is_castagnolis() -> None:
    assert crc32c(0, b"123456789") == 0xE3069283
    assert crc32c(crc32c(0, b"1234"), b"56789") == 0xE3069283


def test_a_log_ends_with_its_last_hard_state_and_its_last_entry() -> None:
    log = segment(metadata(), entry(1, 1), entry(1, 2), state(1, 1), entry(2, 3), state(2, 2), entry(2, 4))
    assert log_end(FIRST, log) == LogEnd(commit=2, last_term=2, last=4)


def test_an_entry_that_comes_again_takes_the_later_ones_away() -> None:
    log = segment(metadata(), entry(1, 1), entry(1, 2), entry(1, 3), state(1, 1), entry(2, 2))
    assert log_end(FIRST, log) == LogEnd(commit=1, last_term=2, last=2)


def test_a_segment_without_entries_tells_by_its_name_where_the_last_one_ended() -> None:
    assert log_end(THIRD, segment(metadata(), state(4, 99), before=77)) == LogEnd(99, 0, 99)


def test_a_snapshot_that_came_from_the_leader_counts() -> None:
    log = segment(metadata(), state(1, 3), entry(1, 3), (SNAPSHOT, message(f1=500, f2=2)), state(2, 500))
    assert log_end(FIRST, log) == LogEnd(commit=500, last_term=2, last=500)


def test_damage_behind_what_is_read_is_told() -> None:
    good = segment(metadata(), entry(1, 1), state(1, 1), zeros=0)
    assert not log_end(FIRST, good + b"\x07garbage").whole
    # A hard state whose CRC is wrong was not written to its end.
    torn = bytearray(segment(metadata(), entry(1, 1), state(1, 1), state(1, 9), zeros=64))
    torn[-64 - 2] ^= 1
    assert log_end(FIRST, bytes(torn)) == LogEnd(commit=1, last_term=1, last=1, whole=False)


@pytest.mark.parametrize("log", [b"", bytes(64), segment(metadata()), segment(metadata(), entry(1, 1))])
def test_a_log_without_a_hard_state_says_nothing(log: bytes) -> None:
    with pytest.raises(ValueError, match="no hard state"):
        log_end(FIRST, log)


@pytest.mark.parametrize("name", ["", "0.wal", "0000000000000000-0000000000000000.wal.broken", "db"])
def test_the_name_of_a_segment_is_one(name: str) -> None:
    with pytest.raises(ValueError, match="no segment"):
        log_end(name, segment(metadata(), state(1, 1)))


GOOD = segment(
    metadata(), entry(1, 1, b"x" * 50), entry(1, 2), state(1, 2), entry(2, 3, b"y" * 300), state(2, 3)
)


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255), st.integers(0, len(GOOD)))
def test_no_damage_is_a_traceback(place: int, flip: int, cut: int) -> None:
    damaged = bytearray(GOOD)
    damaged[place] ^= flip
    for one in (bytes(damaged), bytes(damaged[:cut])):
        try:
            end = log_end(FIRST, one)
        except ValueError:
            continue
        assert end.commit in (2, 3)
        try:
            in_another_cluster(one, 0)
        except ValueError:
            continue


@given(st.binary(max_size=400))
def test_nothing_at_all_is_a_traceback(content: bytes) -> None:
    for act in (lambda: log_end(FIRST, content), lambda: in_another_cluster(content, 0)):
        with pytest.raises(ValueError, match=r"."):
            act()


def said(log: bytes) -> list[tuple[int, bytes]]:
    """Return the records of a segment after checking that each has the right CRC."""
    found, crc = [], None
    for record in records(log):
        if record.kind == CRC:
            assert crc in (None, record.crc)
            crc = record.crc
            continue
        assert crc is not None
        crc = crc32c(crc, record.data or b"")
        assert crc == record.crc, found
        found.append((record.kind, record.data or b""))
    return found


entries = st.lists(
    st.builds(entry, st.integers(1, 9), st.integers(1, 2**40), st.binary(max_size=90)), max_size=12
)


@given(st.integers(1, 2**64 - 1), st.integers(1, 2**64 - 1), entries, entries)
def test_a_log_of_another_cluster_has_the_same_records_and_right_checksums(
    cluster: int, member: int, first: list[tuple[int, bytes]], second: list[tuple[int, bytes]]
) -> None:
    own = metadata(cluster, member)
    one = segment(own, *first)
    last = [record.crc for record in records(one)][-1]
    two = segment(own, state(1, 1), *second, before=last)
    moved, passed = in_another_cluster(one, 0)
    moved_too, _ = in_another_cluster(two, passed)
    assert [record.crc for record in records(moved)][-1] == next(records(moved_too)).crc
    for before, after in ((one, moved), (two, moved_too)):
        (_, theirs), *rest = said(after)
        assert rest == said(before)[1:]
        assert dict(fields(theirs)) == {1: member, 2: cluster ^ 1}


def test_damage_is_not_mended_on_the_way() -> None:
    damaged = bytearray(GOOD)
    damaged[GOOD.index(b"xxxx")] ^= 1
    moved, _ = in_another_cluster(bytes(damaged), 0)
    with pytest.raises(AssertionError):
        said(moved)
