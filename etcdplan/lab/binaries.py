"""etcd's binaries: the user's own, or built once into the user's cache."""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from etcdplan.lab.cached_build import Build, CacheEntry, cache_dir, version_problem
from etcdplan.lab.errors import LabError
from etcdplan.lab.go_build import RECIPES, go_build

_TOOLS = {"etcd": "--version", "etcdctl": "version", "etcdutl": "version"}
_DEBIAN = "3.4.23"
_PACKAGES = ("etcd-server", "etcd-client")


def etcd_binaries(
    version: str, *, etcd_dir: Path | None = None, report: Callable[[str], None] = lambda _: None
) -> Path:
    """Return a directory with an executable `etcd` of exactly `version`, such as "3.6.16".

    `etcdctl` and `etcdutl`, where the directory has them, are of that version too. The places, in order:
    `etcd_dir` and no other when it is given; the cache; PATH; a build into the cache, which takes about a
    minute (etcd 3.4.23: Debian's packages, unpacked and not installed). `report` gets lines of progress.

    Raises `LabError` when `etcd_dir` holds another version or the binaries cannot be had.
    """
    if not re.fullmatch(r"\d+\.\d+\.\d+(-[\w.]+)?", version):
        raise LabError(f"{version!r} is not a version of etcd.", hint="write it as 3.6.16")
    if etcd_dir is not None:
        if wrong := _problem(etcd_dir.absolute(), version):
            raise LabError(f"--etcd-dir is no use for etcd {version}: {wrong}.")
        return etcd_dir.absolute()
    cached = cache_dir() / "etcd" / version
    if not _problem(cached, version):
        return cached
    unfit = "there is no etcd on PATH"
    if found := shutil.which("etcd"):
        directory = Path(found).parent.absolute()
        if not (unfit := _problem(directory, version)):
            return directory
        report(f"not using the etcd on PATH: {unfit}")
    entry = CacheEntry(
        cached,
        title=f"etcd {version}",
        problem=lambda directory: _problem(directory, version),
        otherwise=f"give a directory that holds etcd {version}: --etcd-dir DIR",
        report=report,
    )
    recipe = RECIPES / f"etcd-{version}"
    if version == _DEBIAN:
        return entry.built_by(_unpack_debian)
    if recipe.is_dir():
        return entry.built_by(lambda build: _build_from_source(build, recipe))
    can = ", ".join(sorted([_DEBIAN, *(path.name.removeprefix("etcd-") for path in RECIPES.glob("etcd-*"))]))
    raise LabError(
        f"etcd {version} is not one of those that can be built here ({can}), and {unfit}.",
        hint=entry.otherwise,
    )


def _problem(directory: Path, version: str) -> str:
    for tool, argument in _TOOLS.items():
        if tool == "etcd" or (directory / tool).exists():
            wrong = version_problem(directory / tool, argument, version)
            if wrong:
                return wrong
    return ""


def _build_from_source(build: Build, recipe: Path) -> None:
    build.entry.report(f"building {build.entry.title} from source (about a minute, once)")
    clients = ("go.etcd.io/etcd/etcdctl/v3", "go.etcd.io/etcd/etcdutl/v3")
    go_build(build, recipe=recipe, packages=(".", *clients))


def _unpack_debian(build: Build) -> None:
    build.entry.report(f"fetching {build.entry.title} from Debian's packages (once)")
    env = {**os.environ, "LC_ALL": "C"}
    download = ["apt-get", "download", *(f"{package}={_DEBIAN}*" for package in _PACKAGES)]
    try:
        build.run(download, cwd=build.scratch, env=env)
    except LabError:
        # Only root can refresh apt's lists, and a fresh system has none.
        if os.geteuid() != 0 or shutil.which("apt-get") is None:
            raise
        build.run(["apt-get", "update"], cwd=build.scratch, env=env)
        build.run(download, cwd=build.scratch, env=env)
    root = build.scratch / "root"
    for package in sorted(build.scratch.glob("*.deb")):
        build.run(["dpkg-deb", "-x", package, root], cwd=build.scratch, env=env)
    for tool in _TOOLS:
        if (binary := root / "usr/bin" / tool).exists():
            binary.rename(build.output / tool)
