"""etcd's own programs on the runner, of the minor version that a snapshot is from."""

import os
import re
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from etcdplan.backup.errors import BackupError

_PATIENCE = 10
_TOOL_PATIENCE = 600


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


def restore_snapshot(
    tools: EtcdTools,
    snapshot: Path,
    data: Path,
    *,
    name: str,
    peer_url: str,
    initial_cluster: str,
    token: str,
    bump: int = 0,
) -> None:
    """Restore a decrypted snapshot into a new data directory, its revisions raised by `bump`; raise `BackupError`."""
    command: list[str | Path] = [tools.snapshot_tool, "snapshot", "restore", snapshot, f"--data-dir={data}"]
    command += [
        f"--name={name}",
        f"--initial-cluster={initial_cluster}",
        f"--initial-advertise-peer-urls={peer_url}",
        f"--initial-cluster-token={token}",
    ]
    # Each of these without the other is an error.
    command += [f"--bump-revision={bump}", "--mark-compacted"] if bump else []
    run_tool(command, "restored")


def run_tool(command: Sequence[str | Path], done: str) -> str:
    """Run one of etcd's programs and return what it prints; raise `BackupError`, saying what was not `done`."""
    try:
        process = subprocess.run(
            command, capture_output=True, text=True, timeout=_TOOL_PATIENCE, check=False, env=environment()
        )
    except subprocess.TimeoutExpired:
        raise BackupError(f"The snapshot was not {done} within {_TOOL_PATIENCE} s.") from None
    if process.returncode:
        raise BackupError(
            f"{Path(command[0]).name} says that the snapshot cannot be {done}: {last_words(process.stderr)}.",
            hint="Use another backup; this one is no good.",
        )
    return process.stdout


def environment() -> dict[str, str]:
    """Return the environment without settings of etcd, which its programs would take from there."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("ETCD_", "ETCDCTL_"))}
    # Only 3.4's etcdctl needs the variable, and later ones warn of it.
    return {**kept, "ETCDCTL_API": "3"}


def last_words(text: str) -> str:
    """Return the last line that a program said, fit for a message."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return re.sub(r"[^\x20-\x7e]", "?", lines[-1])[:300].rstrip(".") if lines else "nothing"


def _version(etcd: Path) -> str:
    try:
        done = subprocess.run(
            [etcd, "--version"], capture_output=True, text=True, timeout=_PATIENCE, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    match = re.search(r"etcd Version: (\d+\.\d+\.\d+)", done.stdout)
    return match[1] if match else ""
