"""A trial restore: the snapshot is restored into a scratch directory and served by an etcd that nobody else reaches.

That etcd listens on sockets in a directory of mode 0700 and on no port; it knows no other member.
"""

import json
import os
import re
import subprocess
import time
from pathlib import Path
from typing import Final

from etcdplan.backup.errors import BackupError
from etcdplan.backup.etcd_tools import EtcdTools
from etcdplan.backup.manifest import KvHash, Trial
from etcdplan.transport.errors import EtcdRejected, EtcdUnreachable
from etcdplan.transport.etcd import EtcdClient, KeyValue

_PEER: Final = "http://127.0.0.1:2380"
"""An advertised address; nothing listens there, and a cluster of one dials nobody."""
_TOKEN: Final = "etcdplan-trial"  # noqa: S105 - no secret: it tells clusters apart
_SOCKET: Final = "client:1"
"""etcd wants something like a port in the name of a socket."""
_TOOL_PATIENCE: Final = 600
_START_PATIENCE: Final = 120
_STOP_PATIENCE: Final = 20
_CALL: Final = 60.0
_SAMPLE: Final = 200


def try_restore(
    snapshot: Path, scratch: Path, tools: EtcdTools, *, member: KvHash | None, at_least: int
) -> Trial:
    """Restore a decrypted snapshot below `scratch` (mode 0700, empty but for it) and read what is served.

    `member` is the hash of the member that the snapshot is from, `at_least` the revision that must be in it. Raises
    `BackupError` when anything is not as it must be.
    """
    status = _status(snapshot, tools)
    data = scratch / "data"
    _run(
        [
            tools.snapshot_tool,
            "snapshot",
            "restore",
            snapshot,
            f"--data-dir={data}",
            "--name=trial",
            f"--initial-cluster=trial={_PEER}",
            f"--initial-advertise-peer-urls={_PEER}",
            f"--initial-cluster-token={_TOKEN}",
        ],
        "restored",
    )
    with (scratch / "log").open("wb") as log:
        etcd = subprocess.Popen(
            [
                tools.etcd,
                "--name=trial",
                f"--data-dir={data}",
                f"--listen-client-urls=unix://{_SOCKET}",
                "--advertise-client-urls=http://127.0.0.1:2379",
                "--listen-peer-urls=unix://peer:1",
                f"--initial-advertise-peer-urls={_PEER}",
                f"--initial-cluster=trial={_PEER}",
                f"--initial-cluster-token={_TOKEN}",
            ],
            cwd=scratch,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        with EtcdClient("http://127.0.0.1:1", None, through=f"unix:{scratch}/{_SOCKET}") as client:
            _await(client, etcd, scratch / "log")
            return _read(client, tools, status, member, at_least)
    except (EtcdUnreachable, EtcdRejected) as error:
        raise BackupError(f"The restored etcd could not be read: {error.message}") from None
    finally:
        _stop(etcd)


def _status(snapshot: Path, tools: EtcdTools) -> dict[str, int]:
    text = _run([tools.snapshot_tool, "snapshot", "status", snapshot, "--write-out=json"], "read")
    try:
        said = json.loads(text)
        return {key: int(said[key]) for key in ("hash", "revision", "totalKey", "totalSize")}
    except (ValueError, KeyError, TypeError):
        raise BackupError(f"{tools.snapshot_tool.name} did not say what is in the snapshot.") from None


def _run(command: list[str | Path], done: str) -> str:
    try:
        process = subprocess.run(
            command, capture_output=True, text=True, timeout=_TOOL_PATIENCE, check=False, env=_environment()
        )
    except subprocess.TimeoutExpired:
        raise BackupError(f"The snapshot was not {done} within {_TOOL_PATIENCE} s.") from None
    if process.returncode:
        raise BackupError(
            f"{Path(command[0]).name} says that the snapshot cannot be {done}: {_last_words(process.stderr)}.",
            hint="Use another backup; this one is no good.",
        )
    return process.stdout


def _environment() -> dict[str, str]:
    """Return the environment without settings of etcd, which its programs would take from there."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("ETCD_", "ETCDCTL_"))}
    # Only 3.4's etcdctl needs the variable, and later ones warn of it.
    return {**kept, "ETCDCTL_API": "3"}


def _last_words(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return re.sub(r"[^\x20-\x7e]", "?", lines[-1])[:300].rstrip(".") if lines else "nothing"


def _await(client: EtcdClient, etcd: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_PATIENCE
    while etcd.poll() is None and time.monotonic() < deadline:
        try:
            client.linearizable_read(timeout=1.0)
        except (EtcdUnreachable, EtcdRejected):
            # gRPC answers at once while nothing listens.
            time.sleep(0.05)
            continue
        return
    words = _last_words(log.read_text(errors="replace"))
    raise BackupError(f"An etcd with the restored data does not come up: {words}.")


def _read(
    client: EtcdClient, tools: EtcdTools, status: dict[str, int], member: KvHash | None, at_least: int
) -> Trial:
    revision = client.linearizable_read(timeout=_CALL)
    # `snapshot status` gives that of the last key that is left, which is older where the newest were compacted away.
    if revision < max(at_least, status["revision"]):
        raise BackupError(
            f"The restored etcd is at revision {revision}, and {at_least} must be in the snapshot.",
            hint="Take it again; if that persists, the member's disk does not keep what etcd writes.",
        )
    at = member.revision if member is not None else revision
    hashed = client.hash_kv(at, timeout=_CALL)
    alike = member is not None and member.compact_revision == hashed.compact_revision
    if member is not None and alike and member.hash != hashed.value:
        raise BackupError(
            f"The restored keys differ from the member's: HashKV at revision {at} is {hashed.value}, "
            f"the member's was {member.hash}.",
            hint="Compare the members' own hashes: the member may be corrupt.",
        )
    objects = client.sample(b"/registry/", limit=_SAMPLE, timeout=_CALL)
    strange = [one.key for one in objects if not (_is_object(one) or _is_encrypted(one))]
    if strange:
        key = strange[0].decode(errors="replace")
        raise BackupError(f"The restored value of {key!r} is no Kubernetes object.")
    return Trial(
        version=tools.version,
        status_hash=status["hash"],
        revision=revision,
        total_keys=status["totalKey"],
        total_size=status["totalSize"],
        keys=client.count(timeout=_CALL),
        kv_hash=KvHash(hash=hashed.value, revision=at, compact_revision=hashed.compact_revision),
        compared_with_member=alike,
        objects_read=sum(map(_is_object, objects)),
        objects_encrypted=sum(map(_is_encrypted, objects)),
    )


def _is_object(one: KeyValue) -> bool:
    """Kubernetes stores JSON, or its protobuf envelope `k8s\\0` (apimachinery `runtime/serializer/protobuf`)."""
    return one.value.startswith((b"k8s\0", b"{"))


def _is_encrypted(one: KeyValue) -> bool:
    return one.value.startswith(b"k8s:enc:")


def _stop(etcd: subprocess.Popen[bytes]) -> None:
    etcd.terminate()
    try:
        etcd.wait(_STOP_PATIENCE)
    except subprocess.TimeoutExpired:
        etcd.kill()
        etcd.wait()
