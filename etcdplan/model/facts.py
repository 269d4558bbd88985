"""What was seen of one thing: a value, its absence, or nothing.

Unknown is not absent: reading an unknown fact raises, so that no rule can take the one for the other by forgetting a
check. The planner turns the exception into a refusal that names the fact.
"""

from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class UnknownFact(Exception):
    """A fact was needed that could not be observed; `name` is its address, `why` the reason."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{name} is unknown: {why}")
        self.name = name
        self.why = why


@dataclass(frozen=True, slots=True)
class Fact(Generic[T]):
    """A known value, a known absence (`value` is None), or unknown (`why` says why).

    `seen` says where it was seen and takes no part in comparisons.
    """

    value: T | None
    why: str | None = None
    name: str = field(default="", compare=False)
    seen: str = field(default="", compare=False)

    def get(self) -> T | None:
        """Return the value, or None when it is known to be absent; raise `UnknownFact` when it is unknown."""
        if self.why is not None:
            raise UnknownFact(self.name, self.why)
        return self.value

    @property
    def is_unknown(self) -> bool:
        """Whether nothing is known; for showing and for observing again, not for deciding."""
        return self.why is not None


def known(value: T, *, seen: str = "") -> Fact[T]:
    """Make a fact that was seen."""
    return Fact(value, seen=seen)


def unknown(name: str, why: str) -> Fact[Any]:
    """Make a fact that could not be observed."""
    return Fact(None, why=why, name=name)


ABSENT: Fact[Any] = Fact(None)
