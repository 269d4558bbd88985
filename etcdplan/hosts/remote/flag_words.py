"""Flags among the arguments of a command, and changing them in the text where they stand, and nothing else there.

etcd reads its flags with Go's `flag`, kube-apiserver with `pflag`: a flag given twice counts as it was given last, but
lists of kube-apiserver, which grow.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from etcdplan.hosts.remote.unit_text import Word

_FLAG = re.compile(r"--?([A-Za-z0-9][A-Za-z0-9_.-]*)(?:=(.*))?", re.DOTALL)
_BOOLEANS = re.compile(
    r"(peer-)?(auto-tls|client-cert-auth|skip-client-san-verification)|strict-reconfig-check|pre-vote|force-new-cluster"
    r"|unsafe-no-fsync|enable-(v2|v2v3|grpc-gateway|pprof)|socket-reuse-(port|address)|log-rotation|version|help|h"
    r"|enable-log-rotation|discovery-insecure-.*|experimental-(enable|initial-corrupt|peer|stop|memory).*"
)
_LISTS = ("etcd-servers", "etcd-servers-overrides")


@dataclass(frozen=True, slots=True)
class Flag:
    """A flag and its value; it is the arguments `first` to `last`."""

    name: str
    value: str
    first: int
    last: int


def flags_among(arguments: Sequence[str], *, prefix: str = "") -> list[Flag]:
    """Return the flags in order; raise `ValueError` for anything that is none.

    Of flags with this prefix all that need no value are known here.
    """
    found: list[Flag] = []
    position = 0
    while position < len(arguments):
        match = _FLAG.fullmatch(arguments[position])
        if match is None:
            raise ValueError(f"the argument {arguments[position]!r} is not a flag")
        name, value, last = match[1].replace("_", "-"), match[2], position
        following = arguments[position + 1] if position + 1 < len(arguments) else "-"
        if value is None and not following.startswith("-") and not _BOOLEANS.fullmatch(name):
            value, last = following, position + 1
        elif value is None and name.startswith(prefix) and not _BOOLEANS.fullmatch(name):
            raise ValueError(f"the flag --{name} has no value")
        found.append(Flag(name, "true" if value is None else value, position, last))
        position = last + 1
    return found


def effective(flags: Sequence[Flag]) -> dict[str, str]:
    """Return what counts when flags are given more than once."""
    values: dict[str, str] = {}
    for flag in flags:
        grows = flag.name in _LISTS and flag.name in values
        values[flag.name] = f"{values[flag.name]},{flag.value}" if grows else flag.value
    return values


def change_flags(
    text: str,
    words: Sequence[Word],
    flags: Sequence[Flag],
    wanted: Mapping[str, str],
    write: Callable[[str], str],
) -> str:
    """Return the text with these flags changed to those that are wanted; all other words stay as they are.

    `words` have their places in `text`, and `flags` are the ones among them that may be changed; a flag keeps its
    place, a new one comes behind the last. `write` spells one word. Raises `ValueError` for what cannot be changed.
    """
    now = effective(flags)
    counts = {flag.name: flag for flag in flags}
    added = [name for name in wanted if name not in now]
    behind = next((flag.last for flag in reversed(flags)), len(words) - 1)
    gap = text[words[behind - 1].end : words[behind].start] if behind > 0 else " "
    if _comments(gap):
        gap = " "
    end = words[behind].end if words else len(text)
    new = "".join(f"{gap}{write(f'--{name}={wanted[name]}')}" for name in added)
    text = text[:end] + (new if words else new.removeprefix(gap)) + text[end:]
    gone: set[int] = set()
    for flag in reversed(flags):
        start, end = words[flag.first].start, words[flag.last].end
        if flag.name in wanted and flag == counts[flag.name]:
            if wanted[flag.name] != now[flag.name] or sum(one.name == flag.name for one in flags) > 1:
                text = text[:start] + write(f"--{flag.name}={wanted[flag.name]}") + text[end:]
            continue
        if flag.first > 0:
            start = words[flag.first - 1].end
        elif flag.last + 1 < len(words) and flag.last + 1 not in gone:
            end = words[flag.last + 1].start
        if _comments(text[start:end]):
            raise ValueError("there is a comment in the middle of the command")
        text = text[:start] + text[end:]
        gone.add(flag.first)
    return text


def _comments(text: str) -> bool:
    return any(line.lstrip().startswith(("#", ";")) for line in text.split("\n")[1:])
