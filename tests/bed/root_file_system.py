"""What hosts boot from: built once for each version of the recipe, into the user's cache."""

import hashlib
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from etcdplan.lab.cached_build import Build, CacheEntry, cache_dir
from tests.bed.command import BedError

_RECIPE = Path(__file__).with_name("build_root")
_PYTHON = Path(__file__).with_name("python_layer")
_INSTALL = Path(__file__).with_name("install")


def root_file_system(report: Callable[[str], None] = lambda _: None) -> Path:
    """Return the directory that `build_root` describes; it is read only for everybody.

    Built where it is missing, in one to three minutes. Raises `BedError` without debootstrap, and the build's
    `LabError` with the end of its log.
    """
    entry = CacheEntry(
        cache_dir() / "bed" / hashlib.sha256(_RECIPE.read_bytes()).hexdigest()[:16],
        title="the root file system of the test hosts",
        problem=lambda directory: "" if (directory / "bare").is_dir() else f"there is no {directory}/bare",
        otherwise=f"run {_INSTALL}",
        report=report,
    )
    return entry.built_by(_build)


def _build(build: Build) -> None:
    if shutil.which("debootstrap") is None:
        raise BedError(f"The test bed needs debootstrap: run {_INSTALL}.")
    # In a mount namespace of its own: whatever a killed build had mounted is gone with it.
    command = ["unshare", "--mount", "--propagation", "slave", str(_RECIPE), str(build.output)]
    build.run(command, cwd=build.scratch, env=dict(os.environ))


def python_layer() -> Path:
    """Return what is laid over a bare host's root file system so that there is Python in it; built once, as root."""
    layers = root_file_system()
    digest = hashlib.sha256(_PYTHON.read_bytes() + str(layers).encode()).hexdigest()[:16]

    def build(build: Build) -> None:
        command = ["unshare", "--mount", "--propagation", "slave", str(_PYTHON), str(layers)]
        build.run(
            [*command, str(build.output)],
            cwd=build.scratch,
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        )

    python = "python/usr/bin/python3"
    entry = CacheEntry(
        cache_dir() / "bed" / f"python-{digest}",
        title="the test hosts' Python",
        problem=lambda directory: "" if (directory / python).is_symlink() else f"there is no {python}",
        otherwise="apt-get update",
        report=lambda line: print(line, file=sys.stderr),
    )
    return entry.built_by(build) / "python"
