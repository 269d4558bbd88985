"""What a restore would take, bring back and turn back: two keyspaces, compared by keys and when these last changed.

No value is read: of a Secret nothing but its name comes here.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

Keys = Iterator[tuple[bytes, int]]
"""Keys in order, each with the revision at which it last changed."""

_FLEETING = ("events", "leases", "masterleases")
"""What changes all the time, and is named last."""
_NAMED = 10


@dataclass(frozen=True, slots=True, order=True)
class Object:
    """An object of Kubernetes as its key tells: `kind` is the resource's name, `namespace` empty where it has none."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


def named(key: bytes, prefix: bytes) -> Object:
    """Return the object that a key below the prefix is of.

    A key is `[GROUP/]RESOURCE/[NAMESPACE/]NAME`; services have `specs` and `endpoints` in between (kube-apiserver
    `registry`, `StorageFactory.ResourcePrefix`). Names with a dot before the resource are groups.
    """
    parts = key.removeprefix(prefix).decode(errors="replace").split("/")
    if len(parts) > 2 and "." in parts[0]:
        parts = [f"{parts[1]}.{parts[0]}", *parts[2:]]
    if len(parts) > 2 and parts[0] == "services":
        parts = ["services" if parts[1] == "specs" else parts[1], *parts[2:]]
    kind, *rest = parts
    kind = "nodes" if kind == "minions" else kind
    return Object(kind, rest[0] if len(rest) > 1 else "", "/".join(rest[1:] if len(rest) > 1 else rest))


@dataclass(frozen=True, slots=True)
class Differences:
    """The objects that are there now and would not be any more, that would come back, and that would be older ones."""

    vanish: Sequence[Object]
    come_back: Sequence[Object]
    change: Sequence[Object]

    def lines(self) -> list[str]:
        """Say it in a few lines, whatever its size."""
        if not (self.vanish or self.come_back or self.change):
            return ["Every object is now as it was then."]
        return [
            *_lines("would vanish", self.vanish),
            *_lines("would come back", self.come_back),
            *_lines("would be what they were then", self.change),
        ]

    def as_json(self) -> dict[str, Any]:
        """Return all of it in JSON terms."""

        def each(objects: Sequence[Object]) -> list[dict[str, str]]:
            return [{"kind": one.kind, "namespace": one.namespace, "name": one.name} for one in objects]

        return {
            "vanish": each(self.vanish),
            "comeBack": each(self.come_back),
            "change": each(self.change),
        }


def compare_keys(now: Keys, then: Keys, prefix: bytes) -> Differences:
    """Compare what is there now with a snapshot; only the differences are kept in memory."""
    vanish: list[Object] = []
    come_back: list[Object] = []
    change: list[Object] = []
    mine, theirs = next(now, None), next(then, None)
    while mine is not None or theirs is not None:
        if theirs is None or (mine is not None and mine[0] < theirs[0]):
            vanish.append(named(mine[0], prefix))  # type: ignore[index]  # one of both is there
            mine = next(now, None)
        elif mine is None or theirs[0] < mine[0]:
            come_back.append(named(theirs[0], prefix))
            theirs = next(then, None)
        else:
            if mine[1] != theirs[1]:
                change.append(named(mine[0], prefix))
            mine, theirs = next(now, None), next(then, None)
    return Differences(vanish, come_back, change)


def _lines(what: str, objects: Sequence[Object]) -> Iterator[str]:
    if not objects:
        return
    counts = Counter(one.kind for one in objects).most_common(_NAMED)
    kinds = ", ".join(f"{count} {kind}" for kind, count in counts)
    left = len(objects) - sum(count for _, count in counts)
    yield f"{len(objects)} objects {what}: {kinds}{f' and {left} others' if left else ''}."
    first = sorted(objects, key=lambda one: (one.kind.partition(".")[0] in _FLEETING, one))[:_NAMED]
    more = f" and {len(objects) - len(first)} more" if len(objects) > len(first) else ""
    yield f"  {', '.join(map(str, first))}{more}"
