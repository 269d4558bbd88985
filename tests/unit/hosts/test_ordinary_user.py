"""Nothing here needs root: run as root, these tests are run once more as somebody else."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

_UID = 54321


def test_supervisor_store_and_effects_as_an_ordinary_user() -> None:
    tests = [
        str(Path(__file__).with_name(f"test_{name}.py"))
        for name in ("supervisor", "local_store", "local_effects")
    ]
    home = tempfile.mkdtemp(prefix="etcdplan-user-")
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", f"--basetemp={home}/tests"]
    become = []
    if os.geteuid() == 0:
        os.chown(home, _UID, _UID)
        become = ["setpriv", f"--reuid={_UID}", f"--regid={_UID}", "--clear-groups", "--no-new-privs"]
    try:
        done = subprocess.run(
            [*become, sys.executable, "-m", "pytest", *options, *tests],
            cwd=Path(__file__).parents[3],
            env={"PATH": os.environ["PATH"], "HOME": home, "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
    finally:
        shutil.rmtree(home)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert "[100%]" in done.stdout
