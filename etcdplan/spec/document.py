"""A YAML file as plain values, each with its position.

The spec is untrusted input that people review line by line, so this reads less than YAML offers: one
document, no tags, no anchors and aliases (a few lines of aliases expand to billions of values, and hide from
a reviewer what stands where), no merge keys, no key twice, bounded size and depth, no invisible character.
"""

import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

import yaml

from etcdplan.spec.problems import Address, Position, Problem, SpecInvalid, render_address, shortened, shown

MAX_BYTES: Final = 1024 * 1024
MAX_DEPTH: Final = 20

_Loader: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_START: Final = Position(1, 1)
# Control characters (but tab, line feed, carriage return), further line ends, what reorders displayed text.
_INVISIBLE: Final = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufffe\uffff]"
)
_DECIMAL: Final = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_ODD: Final = {
    "timestamp": "a date",
    "int": "a number in another notation",
    "float": "a number in another notation",
}


@dataclass(frozen=True, slots=True)
class Document:
    """What a file holds.

    `positions` has each mapping entry's key and each list item's start, and the root's at `()`; `texts` has
    the scalars that are not text, as they were written; `problems` has what could be passed over, and
    `unusable` the addresses that hold nothing of use because of that.
    """

    value: object
    positions: Mapping[Address, Position]
    texts: Mapping[Address, str]
    problems: tuple[Problem, ...]
    unusable: frozenset[Address]


def read_regular_file(path: Path) -> bytes:
    """Up to MAX_BYTES + 1 bytes. Raises OSError, also for what is no regular file; never waits for a pipe."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(None, "Not a regular file")
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)


def read_document(path: Path) -> Document:
    """Raises SpecInvalid when `path` cannot be read as one YAML document."""

    def refuse(what: str, remedy: str, before: str | None = None) -> NoReturn:
        line, column = (
            (0, 0) if before is None else (before.count("\n") + 1, len(before) - before.rfind("\n"))
        )
        raise SpecInvalid([Problem(path, line, column, "", what, remedy)])

    try:
        data = read_regular_file(path)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "Not a path"
        refuse(f"cannot be read: {reason}", "name a YAML file that this user may read")
    if len(data) > MAX_BYTES:
        refuse(f"larger than {MAX_BYTES // 1024} KiB", "a spec takes a few KiB; is this the right file?")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        refuse("not UTF-8 text", "save it as UTF-8", data[: error.start].decode("utf-8-sig"))
    if match := _INVISIBLE.search(text):
        refuse(f"the invisible character U+{ord(match[0]):04X}", "remove it", text[: match.start()])
    return _Reader(path, text).document()


class _Reader:
    """Builds the values from the parser's events, which a bomb cannot make many and depth cannot overflow."""

    def __init__(self, path: Path, text: str) -> None:
        self._path = path
        self._lines = re.split("\r\n|\r|\n", text)
        self._loader = _Loader(text)
        self._positions: dict[Address, Position] = {}
        self._texts: dict[Address, str] = {}
        self._problems: list[Problem] = []
        self._unusable: set[Address] = set()

    def document(self) -> Document:
        try:
            value = self._document()
        except yaml.YAMLError as error:
            self._syntax(error)
        finally:
            self._loader.dispose()
        return Document(value, self._positions, self._texts, tuple(self._problems), frozenset(self._unusable))

    def _document(self) -> object:
        self._loader.get_event()
        if self._loader.check_event(yaml.StreamEndEvent):
            self._report(_START, (), "the file is empty", "start from one of the examples")
            raise SpecInvalid(self._problems)
        self._loader.get_event()
        value = self._node((), None)
        self._loader.get_event()
        if not self._loader.check_event(yaml.StreamEndEvent):
            second = self._at(self._loader.get_event().start_mark)
            self._report(second, (), "a second document starts here", "write one cluster a file")
        return value

    def _node(self, address: Address, key: Position | None) -> object:
        """The value that starts here; `key` is the position of its key, for entries of mappings."""
        event = self._loader.get_event()
        position = self._at(event.start_mark)
        self._positions.setdefault(address, key or position)
        if len(address) > MAX_DEPTH:
            self._report(position, (), f"nested deeper than {MAX_DEPTH} levels", "no spec needs that")
            raise SpecInvalid(self._problems)
        if isinstance(event, yaml.AliasEvent):
            self._odd(
                position,
                address,
                f"the alias *{shortened(str(event.anchor))}",
                "write the value out, where it is read",
            )
            return None
        if event.anchor is not None:
            self._report(
                position, address, f"the anchor &{shortened(event.anchor)}", "remove it; aliases are not read"
            )
        if event.tag is not None:
            self._odd(position, address, f"the tag {shown(event.tag)}", "remove it; tags are not read")
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event, address)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(address)
        return self._mapping(address)

    def _sequence(self, address: Address) -> list[object]:
        items: list[object] = []
        while not self._loader.check_event(yaml.SequenceEndEvent):
            items.append(self._node((*address, len(items)), None))
        self._loader.get_event()
        return items

    def _mapping(self, address: Address) -> dict[str, object]:
        entries: dict[str, object] = {}
        while not self._loader.check_event(yaml.MappingEndEvent):
            position = self._at(self._loader.peek_event().start_mark)
            key = self._key(address)
            entry = (*address, key)
            first = self._positions.get(entry) if key in entries else None
            value = self._node(entry, position)
            if first is not None:
                self._report(
                    position, entry, f"the key is already on line {first.line}", "remove one of the two"
                )
            entries.setdefault(key, value)
        self._loader.get_event()
        return entries

    def _key(self, address: Address) -> str:
        event = self._loader.peek_event()
        position = self._at(event.start_mark)
        if not isinstance(event, yaml.ScalarEvent) or event.anchor or event.tag:
            self._odd(position, (*address, ""), "a key must be plain text", "write KEY: VALUE")
            self._node((*address, ""), position)
            return ""
        self._loader.get_event()
        kind = self._kind(event)
        if kind == "merge":
            self._odd(position, (*address, "<<"), "the merge key", "write the entries out")
        elif kind != "str":
            remedy = f'to mean text, quote it: "{shortened(event.value)}"'
            self._odd(position, (*address, event.value), "a key must be text", remedy)
        return str(event.value)

    def _scalar(self, event: Any, address: Address) -> object:
        text: str = event.value
        kind = self._kind(event)
        if kind in ("str", "merge", "value"):
            return text
        self._texts.setdefault(address, text)
        if kind == "null":
            return None
        if kind == "bool":
            return text.lower() in ("yes", "true", "on")
        if kind == "int" and _DECIMAL.fullmatch(text):
            return int(text)
        if kind == "float" and re.fullmatch(r"-?[0-9]+\.[0-9]*", text):
            return float(text)
        brief = shortened(text)
        remedy = f'to mean text, quote it: "{brief}"; write numbers in decimal'
        self._odd(self._at(event.start_mark), address, f"{brief} is {_ODD[kind]} to YAML", remedy)
        return text

    def _kind(self, event: Any) -> str:
        tag: str = self._loader.resolve(yaml.ScalarNode, event.value, event.implicit)
        return tag.rpartition(":")[2]

    def _odd(self, position: Position, address: Address, what: str, remedy: str) -> None:
        self._unusable.add(address)
        self._report(position, address, what, remedy)

    def _report(self, position: Position, address: Address, what: str, remedy: str) -> None:
        line, column = position.line, position.column
        self._problems.append(Problem(self._path, line, column, render_address(address), what, remedy))

    def _syntax(self, error: yaml.YAMLError) -> NoReturn:
        if not isinstance(error, yaml.MarkedYAMLError):
            error = yaml.MarkedYAMLError(problem=str(error))
        mark = error.problem_mark or error.context_mark
        position = self._at(mark) if mark else _START
        what = f"not YAML: {error.problem or error.context}"
        if error.context and error.context_mark:
            what += f", {error.context} that starts on line {self._at(error.context_mark).line}"
        self._report(position, (), what, "indent with spaces, close every quote and bracket")
        raise SpecInvalid(self._problems) from None

    def _at(self, mark: Any) -> Position:
        """The position of `mark`; libyaml puts some on a line after the last."""
        if mark.line < len(self._lines):
            return Position(mark.line + 1, mark.column + 1)
        return Position(len(self._lines), len(self._lines[-1]) + 1)
