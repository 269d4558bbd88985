"""What is taken ahead: all of it, in order, with what goes wrong, and never more than may wait."""

import threading
import time
from collections.abc import Iterator

import pytest

from etcdplan.transport.ahead import MOST, taken_ahead


def test_all_of_it_comes_in_order() -> None:
    assert list(taken_ahead(iter(range(10 * MOST)), lambda: None)) == list(range(10 * MOST))


def test_what_the_source_raises_comes_after_what_it_gave() -> None:
    def source() -> Iterator[int]:
        yield 1
        raise ValueError("broken")

    taken = taken_ahead(source(), lambda: None)
    assert next(taken) == 1
    with pytest.raises(ValueError, match="broken"):
        next(taken)


def test_no_more_waits_than_may_and_the_end_is_told() -> None:
    given, ended = [0], threading.Event()

    def source() -> Iterator[int]:
        while not ended.is_set():
            given[0] += 1
            yield given[0]

    taken = taken_ahead(source(), ended.set)
    assert next(taken) == 1
    time.sleep(0.5)
    assert given[0] <= MOST + 3
    taken.close()  # type: ignore[attr-defined]
    assert ended.is_set()
    assert not [thread for thread in threading.enumerate() if thread.name == "taken ahead"]
