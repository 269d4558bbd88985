"""Planted bugs: each patch breaks one safety property, and the test that it names must notice.

A patch begins with `# test:` lines (a pytest node ID, or a file with `-k` and one word), then comes a unified diff
against the repository. What a test cannot catch here, it would not catch in earnest either.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.planted.named import PATCHES, named

ROOT = Path(__file__).parents[2]
COPIED = ("etcdplan", "tests", "schemas", "examples", "README.md", "pyproject.toml")
PARTS = 4


def _copy(place: Path) -> Path:
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, place / name, ignore=shutil.ignore_patterns("__pycache__"), symlinks=True)
        else:
            shutil.copy(source, place / name)
    return place


def _run(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("PYTEST", "ETCDPLAN"))
    }
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", *arguments],
        cwd=place,
        env={**environment, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.stem)
def test_it_is_noticed(patch: Path, tmp_path: Path) -> None:
    _copy(tmp_path)
    tests = named(patch)
    assert tests, "the patch names no test"
    applied = subprocess.run(
        ["git", "apply", "--unidiff-zero", "-"],
        cwd=tmp_path,
        input=patch.read_bytes(),
        capture_output=True,
        check=False,
        env={**os.environ, "GIT_CEILING_DIRECTORIES": str(tmp_path.parent)},
    )
    assert applied.returncode == 0, applied.stderr.decode()
    done = _run(tmp_path, *(word for test in tests for word in test.split()))
    assert done.returncode == 1, f"nobody noticed:\n{done.stdout[-3000:]}{done.stderr[-1000:]}"
    assert " failed" in done.stdout, done.stdout[-3000:]
    assert "error" not in done.stdout.splitlines()[-1], done.stdout[-3000:]


@pytest.mark.parametrize("part", range(PARTS))
def test_the_named_tests_pass_in_a_copy_without_a_patch(part: int, tmp_path: Path) -> None:
    """Many in one run: what they notice is the patch, and not that they run in a copy."""
    files = sorted({test.split()[0].split("::")[0] for patch in PATCHES for test in named(patch)})
    done = _run(_copy(tmp_path), "-p", "tests.planted.named", *files[part::PARTS])
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]


def test_there_are_enough() -> None:
    assert len(PATCHES) >= 15
