"""What pydantic found, in plain words, at the place where it stands in the file."""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from etcdplan.spec.document import Document
from etcdplan.spec.models import PATTERN_WORDS, Spec
from etcdplan.spec.problems import MAX_PROBLEMS, Address, Position, Problem, render_address, shortened, shown

_TYPES: Final = {
    "string_type": "text",
    "int_type": "a whole number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping of keys to values",
    "model_type": "a mapping of keys to values",
    "model_attributes_type": "a mapping of keys to values",
}
_KINDS: Final[tuple[tuple[type, str], ...]] = (
    (bool, "true or false"),
    (int, "a number"),
    (float, "a number"),
    (str, "text"),
    (list, "a list"),
    (dict, "a mapping"),
)
_REMEDIES: Final = {
    "list_type": "start each entry with '- '",
    "bool_type": "write true or false, without quotes",
    "int_type": "write it in digits, without quotes",
}

_Fault = tuple[Address, str, str]


def nearest(positions: Mapping[Address, Position], address: Address) -> Position:
    """Where `address` stands, or else the innermost of what is around it."""
    while address not in positions:
        address = address[:-1]
    return positions[address]


def explain(error: ValidationError, document: Document, path: Path) -> list[Problem]:
    """All of `error` that does not follow from what `document.problems` reports already."""
    details = error.errors(include_url=False)[:MAX_PROBLEMS]
    guesses = dict(_guess(_address(d, document)) for d in details if d["type"] == "extra_forbidden")
    problems = []
    for detail in details:
        address = _address(detail, document)
        if any(address[:end] in document.unusable for end in range(len(address) + 1)):
            continue
        if detail["type"] == "missing" and address in guesses.values():
            continue  # the misspelt key is reported
        for within, what, remedy in _faults(detail, address, document, guesses):
            position = nearest(document.positions, (*address, *within))
            where = render_address((*address, *within))
            problems.append(Problem(path, position.line, position.column, where, what, remedy))
    return problems


def _address(detail: ErrorDetails, document: Document) -> Address:
    """pydantic's location without the names of union branches and of dictionary keys' own errors."""
    address: Address = ()
    location = detail["loc"]
    for index, key in enumerate(location, 1):
        missing = index == len(location) and detail["type"] == "missing"
        if missing or (*address, key) in document.positions:
            address = (*address, key)
    return address


def _faults(
    detail: ErrorDetails, address: Address, document: Document, guesses: dict[Address, Address | None]
) -> Iterator[_Fault]:
    kind, value, context = detail["type"], detail["input"], detail.get("ctx", {})
    if kind == "value_error" and hasattr(context["error"], "faults"):
        yield from context["error"].faults
    elif kind == "extra_forbidden":
        guess = guesses.get(address)
        remedy = f"did you mean '{guess[-1]}'?" if guess else f"known here: {', '.join(_keys(address[:-1]))}"
        yield (), "unknown key", remedy
    elif kind == "missing":
        yield (), "required, but missing", ""
    elif kind in _TYPES:
        yield (), *_wrong_type(kind, value, address, document)
    elif kind == "literal_error":
        allowed = context["expected"]
        match = get_close_matches(str(value), allowed.replace("'", "").replace(" or ", ", ").split(", "), 1)
        remedy = f"did you mean {match[0]!r}?" if match and match[0] != allowed.strip("'") else ""
        yield (), f"must be {allowed}, but is {shown(value)}", remedy
    elif kind == "string_pattern_mismatch":
        words, remedy = PATTERN_WORDS[context["pattern"]]
        yield (), f"{shown(value)} is not {words}", remedy
    elif kind in ("too_short", "too_long"):
        few = (
            "at least one is needed"
            if kind == "too_short"
            else f"at most {context['max_length']} are possible"
        )
        yield (), f"has {context['actual_length']} entries, {few}", ""
    elif kind in ("greater_than_equal", "less_than_equal"):
        yield (), f"{value} is not a port", "write one from 1 to 65535"
    else:
        yield (), detail["msg"], ""


def _wrong_type(kind: str, value: object, address: Address, document: Document) -> tuple[str, str]:
    given = next((name for type_, name in _KINDS if isinstance(value, type_)), "empty")
    text = shortened(document.texts.get(address, ""))
    reading = f"YAML reads {text} as {given}" if text and value is not None else f"is {given}"
    what = f"must be {_TYPES[kind]}, but {reading}"
    if kind == "string_type" and text and value is not None:
        if address[-1] == "version":
            return what, "write all three numbers, such as 3.6.16"
        return what, f'quote it: "{text}"'
    return what, _REMEDIES.get(kind, "")


def _guess(address: Address) -> tuple[Address, Address | None]:
    key = str(address[-1])
    matches = get_close_matches(key, _keys(address[:-1]), 1) or [
        known
        for known in _keys(address[:-1])
        if known.lower() == key.lower().replace("_", "").replace("-", "")
    ]
    return address, (*address[:-1], matches[0]) if matches else None


def _keys(address: Address) -> list[str]:
    """The keys that a mapping at `address` may have."""
    models: list[type[BaseModel]] = [Spec]
    for key in address:
        if isinstance(key, str):
            fields = [
                field for model in models for field in model.model_fields.values() if field.alias == key
            ]
            models = [model for field in fields for model in _models(field.annotation)]
    return [str(field.alias) for model in models for field in model.model_fields.values()]


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)
