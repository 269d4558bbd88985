"""The wheel, built from this tree, in an empty virtual environment with nothing but what it asks for."""

import re
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from etcdplan import __version__

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.host, pytest.mark.timeout(300)]


def run(*argv: str | Path, cwd: Path) -> str:
    """Run a command to its good end and return what it prints."""
    done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
    return done.stdout


def test_the_wheel_runs_in_an_empty_environment(tmp_path: Path) -> None:
    build = (
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        tmp_path,
    )
    # Built from a copy, since a build leaves its own directories beside the sources.
    tracked = run("git", "ls-files", "-z", "etcdplan", "pyproject.toml", "README.md", cwd=ROOT).split("\0")
    for name in filter(None, tracked):
        copy = tmp_path / "source" / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes((ROOT / name).read_bytes())
    run(*build, tmp_path / "source", cwd=tmp_path)
    [wheel] = tmp_path.glob("*.whl")
    venv.create(tmp_path / "venv", with_pip=True)
    constraints = tmp_path / "constraints.txt"
    constraints.write_text(
        "\n".join(re.findall(r"^[\w.-]+==[\w.]+", (ROOT / "requirements.lock").read_text(), re.M)) + "\n"
    )
    run(tmp_path / "venv/bin/pip", "install", "--quiet", "--constraint", constraints, wheel, cwd=tmp_path)
    program = tmp_path / "venv/bin/etcdplan"
    assert run(program, "--version", cwd=tmp_path).split()[-1] == __version__
    assert run(program, "schema", cwd=tmp_path) == (ROOT / "schemas/spec.schema.json").read_text()
    (tmp_path / "prod.yaml").write_bytes((ROOT / "examples/three-members.yaml").read_bytes())
    run(program, "pki", "init", "--new-identity", "age.txt", cwd=tmp_path)
    assert "valid" in run(program, "validate", "prod.yaml", cwd=tmp_path)
    shown = run(program, "show", ROOT / "examples/plan.json", cwd=tmp_path)
    assert "11 steps, 2 destructive" in shown
