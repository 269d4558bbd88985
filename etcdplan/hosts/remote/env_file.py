"""Files of `EnvironmentFile=`: what systemd reads in them, and changing one assignment without touching the others.

Source: systemd.exec(5), and `parse_env_file_internal` of systemd 252 (which is not a shell).
"""

import re
from dataclasses import dataclass

from etcdplan.hosts.remote.unit_text import Spanned

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NEWLINE = "\n\r"
_BLANK = " \t\n\r"
_PLAIN = re.compile(r"[A-Za-z0-9@%+=:,./_\[\]-]*")


@dataclass(frozen=True, slots=True)
class Assignment:
    """One assignment. `value` has its quotes resolved; `start` to `end` is the raw value, `line` where it begins."""

    name: str
    value: Spanned
    line: int
    start: int
    end: int


def assignments(text: str) -> list[Assignment]:
    """Return what the file assigns, in order; of several to one name the last one counts.

    Raises `ValueError` for what versions of systemd read differently. Names that systemd ignores are left out.
    """
    found: list[Assignment] = []
    position = 0
    while position < len(text):
        if text[position] in _BLANK:
            position += 1
        elif text[position] in "#;":
            end = _end_of_line(text, position)
            if text[position:end].endswith("\\"):
                raise ValueError("a comment that ends with a backslash")
            position = end
        else:
            position = _assignment(text, position, found)
    return found


def _end_of_line(text: str, position: int) -> int:
    while position < len(text) and text[position] not in _NEWLINE:
        position += 1
    return position


def _assignment(text: str, line: int, found: list[Assignment]) -> int:
    """Read one assignment, or a line that is none, and return where the next one may begin."""
    end = _end_of_line(text, line)
    # The first character is the name's, whatever it is.
    equals = text.find("=", line + 1, end)
    if equals < 0:
        return end
    name = text[line:equals].rstrip(_BLANK)
    start = position = equals + 1
    chars: list[str] = []
    at: list[int] = []
    # Blanks that end an unquoted value do not belong to it: `kept` is what was there before them.
    kept, quote, begun = 0, "", False
    while position < len(text):
        char = text[position]
        following = text[position + 1 : position + 2]
        if quote:
            if char == quote:
                quote, kept, begun = "", len(chars), False
            elif char == "\\" and quote == '"' and following:
                if following != "\n":
                    # A backslash stays one before anything that needs none.
                    part = following if following in '"\\`$' else f"\\{following}"
                    chars += part
                    at += [position] * len(part)
                position += 1
            else:
                chars.append(char)
                at.append(position)
        elif char in _NEWLINE:
            break
        elif char in "\"'" and not begun:
            quote = char
        elif char == "\\":
            if not following:
                raise ValueError("a backslash at its end")
            position += 1
            if following != "\n":
                chars.append(following)
                at.append(position - 1)
            kept, begun = len(chars), True
        elif begun or char not in _BLANK:
            chars.append(char)
            at.append(position)
            begun = True
            if char not in _BLANK:
                kept = len(chars)
        position += 1
    if quote:
        raise ValueError(f"a quote that is not closed, in {name}")
    if _NAME.fullmatch(name):
        value = Spanned("".join(chars[:kept]), tuple(at[:kept]), position)
        found.append(Assignment(name, value, line, start, position))
    return position


def environment(text: str) -> dict[str, str]:
    """Return the variables that a file sets."""
    return {one.name: one.value.text for one in assignments(text)}


def quoted(value: str) -> str:
    """Write a value so that systemd reads it as it is."""
    if _PLAIN.fullmatch(value):
        return value
    return '"' + re.sub(r'(["\\`$])', r"\\\1", value) + '"'


def assign(text: str, values: dict[str, str | None]) -> str:
    """Return the file with these assignments and no others of these names; None removes.

    What is there already is changed in its place, what is new comes last. Everything else stays, byte for byte.
    """
    left = dict(values)
    last = {one.name: one for one in assignments(text)}
    for one in reversed(assignments(text)):
        if one.name not in values:
            continue
        value = left.get(one.name)
        if value is None or one != last[one.name]:
            end = one.end + 1 if text[one.end : one.end + 1] == "\n" else one.end
            text = text[: one.line].rstrip(" \t") + text[end:]
        elif value != one.value.text:
            text = text[: one.start] + quoted(value) + text[one.end :]
    new = [
        f"{name}={quoted(value)}\n" for name, value in left.items() if value is not None and name not in last
    ]
    if new and text and not text.endswith("\n"):
        text += "\n"
    return text + "".join(new)
