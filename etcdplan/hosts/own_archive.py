"""etcdplan itself, as it is installed here, packed for a host that has nothing but Python of the same minor version.

The host needs no index and no network: what travels are the installed files of etcdplan and of all that it requires.
"""

import io
import os
import platform
import re
import sys
import tarfile
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from importlib.resources import files
from pathlib import Path
from typing import Final

from etcdplan import __version__
from etcdplan.errors import EtcdplanError
from etcdplan.hosts.job_files import PackedProgram

_REQUIREMENT: Final = re.compile(r"\s*([A-Za-z0-9][\w.-]*)[^;]*(?:;(.*))?")
_EXTRA: Final = re.compile(r"""extra\s*==\s*['"]([^'"]+)['"]""")
_LEFT_OUT: Final = {"__pycache__", "build"}
"""Of etcdplan's own directories: a backup host builds nothing."""

_MAIN = """import sys

if sys.version_info[:2] != {minor!r} or __import__("platform").machine() != {machine!r}:
    sys.exit("it was packed for Python {python} on {machine}")
from etcdplan.__main__ import main

sys.exit(main())
"""
_PROGRAM = """#!/bin/sh
exec {python} -I "${{0%/*}}/lib" "$@"
"""


@cache
def packed(extras: tuple[str, ...]) -> PackedProgram:
    """Return etcdplan with some of its extras; raise `EtcdplanError` when one of them is not installed here."""
    python = f"python{sys.version_info.major}.{sys.version_info.minor}"
    main = _MAIN.format(minor=sys.version_info[:2], machine=platform.machine(), python=python[6:])
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w:gz", compresslevel=6) as tar:
        _add(tar, "etcdplan", _PROGRAM.format(python=python).encode(), 0o755)
        _add(tar, "lib/__main__.py", main.encode(), 0o644)
        for name, path in _contents(extras):
            _add(tar, f"lib/{name}", path.read_bytes(), 0o755 if os.access(path, os.X_OK) else 0o644)
    return PackedProgram(sink.getvalue(), python, __version__)


def _add(tar: tarfile.TarFile, name: str, content: bytes, mode: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    tar.addfile(entry, io.BytesIO(content))


def _contents(extras: tuple[str, ...]) -> Iterator[tuple[str, Path]]:
    """Yield each file with its place among installed packages, once."""
    own = Path(str(files("etcdplan")))
    for path in sorted(own.rglob("*")):
        if path.is_file() and not _LEFT_OUT & set(path.relative_to(own).parts[:-1]):
            yield f"etcdplan/{path.relative_to(own)}", path
    seen = set()
    for one in _required(extras):
        for file in one.files or ():
            path = Path(str(file.locate()))
            place = file.as_posix()
            if place not in seen and ".." not in file.parts and file.suffix != ".pyc" and path.is_file():
                seen.add(place)
                yield place, path


def _required(extras: tuple[str, ...]) -> Iterator[metadata.Distribution]:
    """Yield what etcdplan needs with these extras, and what that needs in turn."""
    left, seen = [("etcdplan", frozenset(extras))], set()
    while left:
        name, wanted = left.pop()
        key = re.sub(r"[-_.]+", "-", name).lower()
        if key in seen:
            continue
        seen.add(key)
        one = _distribution(name)
        if one is None:
            continue
        if key != "etcdplan":
            yield one
        for text in one.requires or ():
            match = _REQUIREMENT.match(text)
            marker = (match and match[2]) or ""
            extra = _EXTRA.search(marker)
            if match and (extra is None or extra[1] in wanted):
                needed = not marker or bool(extra and key == "etcdplan")
                if needed and _distribution(match[1]) is None:
                    raise EtcdplanError(
                        f"A backup host needs {match[1]}, and it is not installed here.",
                        hint=f"pip install 'etcdplan[{extra[1]}]'" if extra else "Install etcdplan anew.",
                    )
                left.append((match[1], frozenset()))


def _distribution(name: str) -> metadata.Distribution | None:
    """Return an installed package; of those with a marker some are for other systems, and are not there."""
    try:
        return metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return None
