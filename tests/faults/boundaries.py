"""The undisturbed run of a story, and what can be made to happen at its boundaries."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from etcdplan.apply.failpoints import KillAt, LastWords
from etcdplan.hosts.ports import HostOutcomeUnknown
from etcdplan.transport.errors import EtcdOutcomeUnknown
from tests.faults.attempts import Attempt
from tests.faults.outcome import dump, summary
from tests.faults.stories import Story


@dataclass(frozen=True)
class Reference:
    """An undisturbed run: its boundaries with their labels, the number of steps begun at each, and its end."""

    hits: tuple[tuple[str, str], ...]
    steps: tuple[int, ...]
    end: Any
    summary: Any

    @property
    def effects(self) -> tuple[tuple[str, str], ...]:
        """Return the boundaries around effects."""
        return tuple(hit for hit in self.hits if hit[0].startswith("effect"))


class Registry(KillAt):
    """Kills nobody and notes at which step each boundary comes."""

    def __init__(self) -> None:
        super().__init__(0)
        self.attempt: Attempt | None = None
        self.steps: list[int] = []

    def hit(self, name: str, label: str, last_words: LastWords) -> None:
        """Note it."""
        assert self.attempt is not None
        self.steps.append(self.attempt.steps_begun)
        super().hit(name, label, last_words)


@cache
def reference(story: Story) -> Reference:
    """Let a story go undisturbed."""
    world, registry = story.build(), Registry()
    attempt = registry.attempt = Attempt(world, story.spec, failpoint=registry)
    attempt.apply()
    assert not world.violations
    return Reference(tuple(registry.hits), tuple(registry.steps), dump(world), summary(world))


class At:
    """Lets something happen at one boundary; what `happens` raises reaches the caller of the effect."""

    def __init__(self, name: str, happens: Callable[[str], object]) -> None:
        self._name = name
        self._happens = happens
        self.labels: list[str] = []
        """What was called, in order, with its arguments."""

    def hit(self, name: str, label: str, last_words: LastWords) -> None:
        """Do it when this is the one."""
        if name.endswith("before"):
            self.labels.append(label)
        if name == self._name:
            self._happens(label)


def host_of_effect(label: str) -> str:
    """Return the host whose port is called."""
    return label.split(" ")[1]


def lose_the_reply(label: str) -> None:
    """Raise what a caller sees whose connection broke."""
    effect, host, *_ = label.split(" ")
    if effect.startswith("member_") or effect == "move_leader":
        raise EtcdOutcomeUnknown(host, effect, "connection reset")
    raise HostOutcomeUnknown(f"It is unknown whether {effect} on {host} happened.")
