"""Running tests once more as a user who is not root."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

_UID = 54321
_PROJECT = Path(__file__).parents[2]


def run_as_ordinary_user(*tests: str, etcd_dir: Path | None = None) -> None:
    """Run tests (paths from the project's directory) with pytest, as root as somebody else, and assert that they pass.

    That user has a home of its own, whose cache has the binaries of `etcd_dir` as those of the version that the
    directory is named by.
    """
    home = Path(tempfile.mkdtemp(prefix="etcdplan-user-"))
    try:
        if etcd_dir is not None:
            shutil.copytree(etcd_dir, home / "cache/etcdplan/etcd" / etcd_dir.name)
        become = []
        if os.geteuid() == 0:
            for path in (home, *home.rglob("*")):
                os.chown(path, _UID, _UID)
            become = ["setpriv", f"--reuid={_UID}", f"--regid={_UID}", "--clear-groups", "--no-new-privs"]
        options = ["-p", "no:cacheprovider", "-p", "no:xdist", f"--basetemp={home}/tests"]
        done = subprocess.run(
            [*become, sys.executable, "-m", "pytest", *options, *tests],
            cwd=_PROJECT,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(home),
                "XDG_CACHE_HOME": str(home / "cache"),
                "PYTHONDONTWRITEBYTECODE": "1",
            },
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )
    finally:
        shutil.rmtree(home)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert "[100%]" in done.stdout
