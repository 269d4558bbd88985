"""What hosts boot from: built once for each version of the recipe, into the user's cache."""

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from etcdplan.lab.cached_build import Build, CacheEntry, cache_dir
from tests.bed.command import BedError

_RECIPE = Path(__file__).with_name("build_root")
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
