"""Imports point one way, and the core imports nothing that has effects."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import etcdplan

PACKAGE = Path(etcdplan.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))

LAYERS = {
    "errors": 0,
    "model": 1,
    "pki": 1,
    "spec": 2,
    "steps": 2,
    "diff": 3,
    "planner": 4,
    "hosts": 4,
    "transport": 5,
    "observe": 6,
    "backup": 6,
    "apply": 7,
    "render": 8,
    "lab": 9,
    "cli": 10,
    "__main__": 11,
}
"""What a package may import: those with a smaller number, and itself."""

PURE = ("model", "diff", "planner", "steps")
EFFECTS = {
    "asyncio",
    "grpc",
    "http",
    "multiprocessing",
    "os",
    "paramiko",
    "pathlib",
    "random",
    "secrets",
    "shutil",
    "signal",
    "socket",
    "ssl",
    "subprocess",
    "sys",
    "tempfile",
    "threading",
    "time",
    "urllib",
}
HEAVY = {"grpc", "pydantic", "cryptography", "paramiko", "pyrage", "typer", "etcd3", "yaml"}


def _name(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path) -> None:
    own = _name(path)
    if own == "__init__":
        return
    for module in _imports(path):
        if module.startswith("etcdplan."):
            other = module.split(".")[1]
            assert other == own or LAYERS[other] < LAYERS[own], f"{own} imports {module}"


@pytest.mark.parametrize(
    "path", [path for path in MODULES if _name(path) in PURE], ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_the_core_is_pure(path: Path) -> None:
    assert not {module.split(".")[0] for module in _imports(path)} & EFFECTS


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_file_is_too_long(path: Path) -> None:
    if not path.name.endswith("_pb2.py"):
        assert len(path.read_text().splitlines()) <= 400


def test_the_version_costs_no_heavy_import() -> None:
    code = "import sys; sys.argv[1:] = ['--version']; from etcdplan.__main__ import main; main(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("etcdplan ")
    assert not HEAVY & {module.split(".")[0] for module in done.stdout.split()}
