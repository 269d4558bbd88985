"""Planted bugs: each patch breaks one safety property, and the test that it names must notice.

A patch begins with `# test:` lines (pytest node IDs, or a file with `-k`), then comes a unified diff against the
repository. What a test cannot catch here, it would not catch in earnest either.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PATCHES = sorted(Path(__file__).parent.glob("*.patch"))
COPIED = ("etcdplan", "tests", "schemas", "examples", "README.md", "pyproject.toml")


def _copy(place: Path) -> None:
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, place / name, ignore=shutil.ignore_patterns("__pycache__"), symlinks=True)
        else:
            shutil.copy(source, place / name)


def _tests(patch: Path) -> list[str]:
    lines = patch.read_text().splitlines()
    return [line.removeprefix("# test:").strip() for line in lines if line.startswith("# test:")]


def _run(place: Path, tests: list[str]) -> subprocess.CompletedProcess[str]:
    arguments = [word for test in tests for word in test.split()]
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
    tests = _tests(patch)
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
    done = _run(tmp_path, tests)
    assert done.returncode == 1, f"nobody noticed:\n{done.stdout[-3000:]}{done.stderr[-1000:]}"
    assert " failed" in done.stdout, done.stdout[-3000:]
    assert "error" not in done.stdout.splitlines()[-1], done.stdout[-3000:]


def test_the_named_tests_pass_as_things_are() -> None:
    named = sorted({test for patch in PATCHES for test in _tests(patch)})
    for start in range(0, len(named), 8):
        for test in named[start : start + 8]:
            done = _run(ROOT, [test])
            assert done.returncode == 0, f"{test}:\n{done.stdout[-3000:]}"


def test_there_are_enough() -> None:
    assert len(PATCHES) >= 15
