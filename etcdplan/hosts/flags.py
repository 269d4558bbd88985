"""Command-line flags as files and as a running process has them, one `--flag=value` each."""

import re
from collections.abc import Iterable, Mapping, Sequence

from etcdplan.model.state import Settings

_FLAG = re.compile(r"--?([A-Za-z0-9][A-Za-z0-9-]*)(?:=(.*))?", re.DOTALL)
_NO_PATHS = ("etcd-prefix", "etcd-servers-overrides")
"""Flags whose values start with a slash and are no file: a key's prefix, and API groups."""


def render_flags(settings: Settings) -> bytes:
    """Write settings as a file; raise `ValueError` for what has no form as one line."""
    lines = [f"--{flag}={value}" for flag, value in sorted(settings.items())]
    for line in lines:
        if not line.isprintable() or not _FLAG.fullmatch(line):
            raise ValueError(f"{line!r} is not a flag on one line")
    return "".join(f"{line}\n" for line in lines).encode()


def flag_lines(content: bytes) -> list[str]:
    """Return the flags in a file, without blank lines and comments (`#`); raise `ValueError` for anything else."""
    lines = [line.strip() for line in content.decode().splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    for number, line in enumerate(lines, 1):
        if not _FLAG.fullmatch(line):
            raise ValueError(f"entry {number} is not of the form --flag=value")
    return lines


def parse_flags(lines: Iterable[str]) -> dict[str, str]:
    """Return flags by name without dashes; raise `ValueError` for what is no flag, or given twice.

    A flag without a value is one that is set (`true`), as Go reads it.
    """
    settings: dict[str, str] = {}
    for line in lines:
        match = _FLAG.fullmatch(line)
        if match is None or match[1] in settings:
            raise ValueError(f"{line.partition('=')[0]!r} is given twice or is no flag")
        settings[match[1]] = "true" if match[2] is None else match[2]
    return settings


def below(root: str, settings: Settings) -> Mapping[str, str]:
    """Return the settings with the host's paths as paths of this machine, below the host's root directory."""
    return {
        flag: value
        if flag in _NO_PATHS
        else ",".join(f"{root}{part}" if part.startswith("/") else part for part in value.split(","))
        for flag, value in settings.items()
    }


def above(root: str, settings: Settings) -> Mapping[str, str]:
    """Undo `below`."""
    return {flag: value.replace(f"{root}/", "/") for flag, value in settings.items()}


def as_arguments(settings: Settings) -> Sequence[str]:
    """Return the settings as arguments of a program."""
    return [f"--{flag}={value}" for flag, value in sorted(settings.items())]
