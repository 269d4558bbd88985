"""etcdplan as it is packed for a host: what it needs is in it, and nothing else of this machine is needed."""

import io
import re
import subprocess
import tarfile
from pathlib import Path

import pytest

from etcdplan import __version__
from etcdplan.errors import EtcdplanError
from etcdplan.hosts import own_archive
from etcdplan.hosts.own_archive import packed


def test_it_runs_where_it_was_unpacked(tmp_path: Path) -> None:
    found = packed(())
    with tarfile.open(fileobj=io.BytesIO(found.archive)) as tar:
        tar.extractall(tmp_path, filter="data")
    assert found.version == __version__ and re.fullmatch(r"python3\.\d+", found.python)
    # As the launcher starts it, and without the packages of this environment.
    lines = (
        "import runpy, sys",
        "sys.path[:] = [path for path in sys.path if 'site-packages' not in path]",
        f"runpy.run_path({str(tmp_path / 'lib')!r}, run_name='__main__')",
    )

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [found.python, "-I", "-S", "-c", "\n".join(lines), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    done = run("backup", "run", "--help")
    assert "--without-ssh" in done.stdout, done.stderr
    assert run("backup", "run", str(tmp_path / "no.yaml"), "--without-ssh").returncode == 1
    assert f"exec {found.python} -I" in (tmp_path / "etcdplan").read_text()


def test_an_extra_that_is_not_installed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    there = own_archive._distribution
    packed.cache_clear()
    monkeypatch.setattr(own_archive, "_distribution", lambda name: None if name == "s3fs" else there(name))
    with pytest.raises(EtcdplanError, match="needs s3fs, and it is not installed here"):
        packed(("s3",))
