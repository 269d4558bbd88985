"""kube-apiserver's binary: the user's own, or built once into the user's cache."""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from etcdplan.lab.cached_build import Build, CacheEntry, cache_dir, version_problem
from etcdplan.lab.errors import LabError
from etcdplan.lab.go_build import RECIPES, go_build

_NAME = "kube-apiserver"
_OVERRIDE = "ETCDPLAN_KUBE_APISERVER"


def kube_apiserver(
    version: str = "1.34.4", *, build: bool, report: Callable[[str], None] = lambda _: None
) -> Path | None:
    """Return an executable kube-apiserver of exactly `version`; None when there is none and `build` is false.

    The places, in order: the path in `$ETCDPLAN_KUBE_APISERVER` and no other when it is set; the cache; PATH;
    a build into the cache, which takes some minutes. `report` gets lines of progress.

    Raises `LabError` when the variable names another version or the build fails.
    """
    if not re.fullmatch(r"\d+\.\d+\.\d+(-[\w.]+)?", version):
        raise LabError(f"{version!r} is not a version of Kubernetes.", hint="write it as 1.34.4")
    if override := os.environ.get(_OVERRIDE):
        if wrong := version_problem(Path(override).absolute(), "--version", version):
            raise LabError(f"{_OVERRIDE} is no use for kube-apiserver {version}: {wrong}.")
        return Path(override).absolute()
    cached = cache_dir() / "kubernetes" / version
    if not _problem(cached, version):
        return cached / _NAME
    found = shutil.which(_NAME)
    if found and not version_problem(Path(found).absolute(), "--version", version):
        return Path(found).absolute()
    if not build:
        return None
    entry = CacheEntry(
        cached,
        title=f"kube-apiserver {version}",
        problem=lambda directory: _problem(directory, version),
        otherwise=f"set {_OVERRIDE} to the path of a kube-apiserver {version}",
        report=report,
    )
    recipe = RECIPES / f"{_NAME}-{version}"
    if not recipe.is_dir():
        can = ", ".join(sorted(path.name.removeprefix(f"{_NAME}-") for path in RECIPES.glob(f"{_NAME}-*")))
        raise LabError(
            f"kube-apiserver {version} is not one of those that can be built here ({can}).",
            hint=entry.otherwise,
        )
    return entry.built_by(lambda build: _build_from_source(build, recipe, version)) / _NAME


def _problem(directory: Path, version: str) -> str:
    return version_problem(directory / _NAME, "--version", version)


def _build_from_source(build: Build, recipe: Path, version: str) -> None:
    build.entry.report(f"building {build.entry.title} from source (about four minutes, once)")
    # Kubernetes' own build sets these; without them the binary calls itself v0.0.0-master.
    major, minor, _ = version.split(".", 2)
    values = {"gitVersion": f"v{version}", "gitMajor": major, "gitMinor": minor}
    flags = " ".join(f"-X k8s.io/component-base/version.{name}={value}" for name, value in values.items())
    go_build(build, recipe=recipe, packages=["k8s.io/kubernetes/cmd/kube-apiserver"], link_flags=flags)
