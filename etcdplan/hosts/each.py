"""Doing the same on several hosts: one after the other, or at once."""

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Each(Protocol):
    """Calls a function for every item and yields the results in the items' order.

    `ThreadPoolExecutor.map` is one: a host that does not answer then delays nobody.
    """

    def __call__(self, function: Callable[[T], R], items: Iterable[T], /) -> Iterator[R]:
        """Return the results."""
        ...


def in_turn(function: Callable[[T], R], items: Iterable[T], /) -> Iterator[R]:
    """Call one after the other, always in the same order."""
    return map(function, items)
