"""Changes, one block an object: what is alike stands together, what is long is counted."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from etcdplan.planner.document import ChangeEntry
from etcdplan.render.printable import counted

SYMBOLS: Final = {"create": "+", "update": "~", "replace": "-/+", "delete": "-", "start": ">", "unknown": "?"}
LEGEND: Final = {
    "+": "create",
    "~": "change",
    "-/+": "replace",
    "-": "destroy",
    ">": "start",
    "?": "could not be compared",
}
ENDPOINTS: Final = "etcd-servers"


@dataclass(frozen=True, slots=True)
class Line:
    """A detail of an object; `text` holds `before -> after` where there are both."""

    symbol: str
    text: str


@dataclass(frozen=True, slots=True)
class Block:
    """One object, or several of one kind that change alike. `value` is the object's own, such as its peer URL."""

    symbol: str
    title: str
    value: str
    reason: str
    lines: tuple[Line, ...] = ()

    def __str__(self) -> str:
        return "  ".join(
            part for part in (self.title, self.value, self.reason and f"({self.reason})") if part
        )


@dataclass(frozen=True, slots=True)
class Counts:
    """Objects by what becomes of them; a replaced one is added and destroyed."""

    add: int
    change: int
    destroy: int
    unknown: int

    def __str__(self) -> str:
        return f"{self.add} to add, {self.change} to change, {self.destroy} to destroy"


def count(changes: Sequence[ChangeEntry]) -> Counts:
    """Count objects, not single differences."""
    actions = [_action(address, parts) for address, parts in _objects(changes).items()]
    replaced = actions.count("replace")
    other = len(actions) - sum(map(actions.count, ("create", "delete", "replace", "unknown")))
    return Counts(
        actions.count("create") + replaced,
        other,
        actions.count("delete") + replaced,
        actions.count("unknown"),
    )


def blocks(changes: Sequence[ChangeEntry], *, verbose: bool) -> list[Block]:
    """Return a block an object, in the order of the changes; by default what changes alike shares a block."""
    found = [_block(address, parts, verbose=verbose) for address, parts in _objects(changes).items()]
    if verbose:
        return found
    alike: dict[tuple[object, ...], list[Block]] = {}
    for block in found:
        key = (_kind(block.title), block.symbol, block.value, block.reason, block.lines)
        alike.setdefault(key, []).append(block)
    return [replace(same[0], title=_together([block.title for block in same])) for same in alike.values()]


def _kind(address: str) -> str:
    kind, _, rest = address.partition("/")
    return "record" if kind == "host" and rest.endswith("/record") else kind


def _together(addresses: Sequence[str]) -> str:
    if len(addresses) == 1:
        return addresses[0]
    kind = _kind(addresses[0])
    if kind == "certificate":
        return f"{len(addresses)} certificates: {certificates(addresses)}"
    if kind in ("trust", "record", "program"):
        hosts = ", ".join(address.partition("/")[2].removesuffix("/record") for address in addresses)
        whats = {"trust": "CA certificate", "record": "record of the cluster", "program": "program of etcd"}
        what = whats[kind]
        return f"{what} on {len(addresses)} hosts: {hosts}"
    return ", ".join(addresses)


def certificates(addresses: Iterable[str]) -> str:
    """Return `member1 server, peer; cp1 apiserver` for `certificate/OWNER/LEAF`."""
    leafs: dict[str, list[str]] = {}
    for address in addresses:
        owner, _, leaf = address.partition("/")[2].partition("/")
        leafs.setdefault(owner, []).append(leaf.removesuffix(f"-{owner}"))
    return "; ".join(f"{owner} {', '.join(names)}" for owner, names in leafs.items())


def _symbol(action: str) -> str:
    return SYMBOLS.get(action, "~")


def _objects(changes: Sequence[ChangeEntry]) -> dict[str, list[ChangeEntry]]:
    """Group changes by the member or API server that they are about, else by their address."""
    objects: dict[str, list[ChangeEntry]] = {}
    for change in changes:
        parts = change.address.split("/")
        address = (
            "/".join(parts[:2]) if parts[0] in ("member", "apiserver", "backup-host") else change.address
        )
        objects.setdefault(address, []).append(change)
    return objects


def _action(address: str, changes: Sequence[ChangeEntry]) -> str:
    own = {change.action for change in changes if change.address == address}
    if {"create", "delete"} <= own or "replace" in own:
        return "replace"
    if own:
        return sorted(own)[0]
    if any(c.address == f"{address}/flag/{ENDPOINTS}" and c.action == "create" for c in changes):
        return "create"  # an API server that never ran here
    actions = {change.action for change in changes}
    return actions.pop() if actions <= {"start"} or actions <= {"unknown"} else "update"


def _block(address: str, changes: Sequence[ChangeEntry], *, verbose: bool) -> Block:
    action = _action(address, changes)
    own = [change for change in changes if change.address == address]
    rest = _details(address, [change for change in changes if change.address != address])
    if action in ("create", "replace") and not verbose:
        rest = _counted(rest)
    if len(own) != 1:
        several = [Line(_symbol(c.action), f"{values(c)}  ({c.reason})".lstrip()) for c in own]
        return Block(_symbol(action), address, "", "", (*several, *rest))
    plain = _kind(address) in ("certificate", "trust", "record") and own[0].before is None
    return Block(_symbol(action), address, "" if plain else values(own[0]), own[0].reason, tuple(rest))


def _counted(lines: list[Line]) -> list[Line]:
    """Count the settings of what is new; what it replaces, and API servers' endpoints, are shown."""
    new = [line for line in lines if line.symbol == "+" and not line.text.startswith(f"{ENDPOINTS}:")]
    shown = [line for line in lines if line not in new and not line.text.startswith("process:")]
    return [*shown, Line("+", counted(len(new), "more setting" if shown else "setting"))] if new else shown


def values(change: ChangeEntry) -> str:
    """Return `before -> after`, or the one that there is."""
    both = [value for value in (change.before, change.after) if value is not None]
    return " -> ".join(dict.fromkeys(both))


def _details(address: str, changes: Sequence[ChangeEntry]) -> list[Line]:
    """One line a setting: what differs alike on disk and in the running process is said once."""
    reasons: dict[tuple[str, str, str], list[str]] = {}
    for change in changes:
        name = change.address.removeprefix(f"{address}/").removeprefix("flag/")
        where = reasons.setdefault((_symbol(change.action), name, values(change)), [])
        where.append(change.reason.removeprefix("it differs "))
    return [
        Line(symbol, f"{name}: {value}  ({' and '.join(where)})")
        for (symbol, name, value), where in reasons.items()
    ]
