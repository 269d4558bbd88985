"""etcd's own programs on the runner, of the minor version that a snapshot is from."""

import os
import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from etcdplan.backup.errors import BackupError

_PATIENCE = 10


@dataclass(frozen=True, slots=True)
class EtcdTools:
    """`etcd`, and the program that reads and restores snapshots: etcdutl, or etcdctl before etcd 3.5."""

    version: str
    etcd: Path
    snapshot_tool: Path


def find_tools(version: str, places: Iterable[Path]) -> EtcdTools:
    """Return programs of the same minor version, from the first of these directories that has them.

    Raises `BackupError` when none has: a backup that could not be tried is not called tried.
    """
    minor = version.rpartition(".")[0]
    name = "etcdctl" if minor == "3.4" else "etcdutl"
    looked = list(dict.fromkeys(places))
    for directory in looked:
        found = _version(directory / "etcd")
        if found.rpartition(".")[0] == minor and os.access(directory / name, os.X_OK):
            return EtcdTools(found, directory / "etcd", directory / name)
    where = f"not in {', '.join(map(str, looked))}" if looked else "not on PATH"
    raise BackupError(
        f"A trial restore needs etcd and {name} {minor} on this machine, and they are {where}.",
        hint="Name the directory that holds them: --etcd-dir DIR.",
    )


def _version(etcd: Path) -> str:
    try:
        done = subprocess.run(
            [etcd, "--version"], capture_output=True, text=True, timeout=_PATIENCE, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    match = re.search(r"etcd Version: (\d+\.\d+\.\d+)", done.stdout)
    return match[1] if match else ""
