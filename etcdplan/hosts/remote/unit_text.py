"""systemd's unit files and command lines, each word with its place in the file, so that only that word is changed.

Source: systemd.syntax(7), systemd.service(5) "Command lines"; `config_parse` and `extract_first_word` of systemd 252.
"""

from collections.abc import Iterator
from dataclasses import dataclass

_ESCAPES = {
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "v": "\v",
    "s": " ",
    "\\": "\\",
    '"': '"',
    "'": "'",
}
_DIGITS = {"x": (2, 16), "u": (4, 16), "U": (8, 16)}
_BLANK = " \t\n\r"


@dataclass(frozen=True, slots=True)
class Spanned:
    """Text, and for each of its characters where it is in the file; `after` is the place behind the last one."""

    text: str
    at: tuple[int, ...]
    after: int

    def cut(self, start: int, end: int) -> "Spanned":
        """Return a part."""
        after = (
            self.at[end - 1] + 1 if end > start else self.at[start] if start < len(self.at) else self.after
        )
        return Spanned(self.text[start:end], self.at[start:end], after)

    def stripped(self) -> "Spanned":
        """Return it without blanks around it."""
        start = len(self.text) - len(self.text.lstrip(_BLANK))
        return self.cut(start, max(start, len(self.text.rstrip(_BLANK))))


@dataclass(frozen=True, slots=True)
class Word:
    """One word, without its quotes; `start` and `end` are its place in the file, with them."""

    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Directive:
    """One `name=value` of a unit file."""

    section: str
    name: str
    value: Spanned


def decode(content: bytes) -> str:
    """Return a file's text; raise `ValueError` for what is not UTF-8, which systemd refuses or ignores, too."""
    text = content.decode()
    if "\0" in text:
        raise ValueError("a NUL character")
    return text


def directives(text: str) -> Iterator[Directive]:
    """Yield what a unit file says; raise `ValueError` for a line that is none."""
    section = ""
    for line in _logical_lines(text):
        line = line.stripped()
        if not line.text:
            continue
        if line.text.startswith("["):
            if not line.text.endswith("]"):
                raise ValueError(f"the line {line.text!r}")
            section = line.text[1:-1]
            continue
        name, equals, _ = line.text.partition("=")
        if not equals:
            raise ValueError(f"the line {line.text!r}")
        value = line.cut(len(name) + 1, len(line.text)).stripped()
        yield Directive(section, name.strip(_BLANK), value)


def _logical_lines(text: str) -> Iterator[Spanned]:
    """Yield the lines with continued ones joined; comments are left out, between continued lines, too."""
    chars: list[str] = []
    at: list[int] = []
    position = 0
    for line in text.splitlines(keepends=True):
        start, position = position, position + len(line)
        body = line.rstrip("\n")
        if body.lstrip(_BLANK)[:1] in ("#", ";"):
            continue
        chars += body
        at += range(start, start + len(body))
        if _ends_escaped(chars):
            chars[-1] = " "
            continue
        yield Spanned("".join(chars), tuple(at), start + len(body))
        chars, at = [], []
    if chars:
        yield Spanned("".join(chars), tuple(at), position)


def _ends_escaped(chars: list[str]) -> bool:
    count = 0
    while count < len(chars) and chars[-1 - count] == "\\":
        count += 1
    return count % 2 == 1


def split_words(value: Spanned) -> list[Word]:
    """Split a value as systemd does: at blanks, quotes and C's escapes resolved; raise `ValueError` if it cannot."""
    words: list[Word] = []
    text, position = value.text, 0
    while True:
        while position < len(text) and text[position] in _BLANK:
            position += 1
        if position == len(text):
            return words
        start, built, quote = position, "", ""
        while position < len(text) and (quote or text[position] not in _BLANK):
            char = text[position]
            position += 1
            if char == "\\":
                found, position = _unescaped(text, position)
                built += found
            elif char == quote:
                quote = ""
            elif not quote and char in "\"'":
                quote = char
            else:
                built += char
        if quote:
            raise ValueError("a quote that is not closed")
        words.append(Word(built, value.at[start], value.at[position - 1] + 1))


def _unescaped(text: str, position: int) -> tuple[str, int]:
    """Resolve the escape whose backslash is before `position`; return its value and the position behind it."""
    char = text[position : position + 1]
    if char in _ESCAPES and char:
        return _ESCAPES[char], position + 1
    if char == ";":
        return ";", position + 1
    if char in _DIGITS and char:
        count, base = _DIGITS[char]
        digits = text[position + 1 : position + 1 + count]
        if len(digits) == count and all(digit in "0123456789abcdefABCDEF" for digit in digits):
            number = int(digits, base)
            if 0 < number < 0x80 or (char != "x" and 0 < number < 0xD800):
                return chr(number), position + 1 + count
    octal = text[position : position + 3]
    if len(octal) == 3 and all(digit in "01234567" for digit in octal) and 0 < int(octal, 8) < 0x80:
        return chr(int(octal, 8)), position + 3
    raise ValueError(f"the escape sequence {text[position - 1 : position + 1]!r}")


def quoted(word: str) -> str:
    """Write a word of a command line so that systemd reads it as it is, without specifiers and variables."""
    safe = word.replace("%", "%%").replace("$", "$$")
    if safe and not any(char in _BLANK or char in "\"'\\" for char in safe) and safe != ";":
        return safe
    return '"' + safe.replace("\\", "\\\\").replace('"', '\\"') + '"'
