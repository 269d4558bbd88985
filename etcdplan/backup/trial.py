"""A trial restore: the snapshot is restored into a scratch directory and served by an etcd that nobody else reaches.

That etcd listens on sockets in a directory of mode 0700 and on no port; it knows no other member.
"""

import json
import subprocess
from pathlib import Path
from typing import Final

from etcdplan.backup.errors import BackupError
from etcdplan.backup.etcd_tools import (
    EtcdTools,
    environment,
    last_words,
    restore_snapshot,
    run_tool,
)
from etcdplan.backup.manifest import KvHash, Trial
from etcdplan.hosts.processes import wait_until
from etcdplan.transport.errors import EtcdRejected, EtcdUnreachable
from etcdplan.transport.etcd import EtcdClient, KeyValue

_PEER: Final = "http://127.0.0.1:2380"
"""An advertised address; nothing listens there, and a cluster of one dials nobody."""
_TOKEN: Final = "etcdplan-trial"  # noqa: S105 - no secret: it tells clusters apart
_SOCKET: Final = "client:1"
"""etcd wants something like a port in the name of a socket."""
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
    restore_snapshot(
        tools,
        snapshot,
        data,
        name="trial",
        peer_url=_PEER,
        initial_cluster=f"trial={_PEER}",
        token=_TOKEN,
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
            env=environment(),
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
    text = run_tool([tools.snapshot_tool, "snapshot", "status", snapshot, "--write-out=json"], "read")
    try:
        said = json.loads(text)
        return {key: int(said[key]) for key in ("hash", "revision", "totalKey", "totalSize")}
    except (ValueError, KeyError, TypeError):
        raise BackupError(f"{tools.snapshot_tool.name} did not say what is in the snapshot.") from None


def _await(client: EtcdClient, etcd: subprocess.Popen[bytes], log: Path) -> None:
    def serves() -> bool:
        try:
            client.linearizable_read(timeout=1.0)
        except (EtcdUnreachable, EtcdRejected):
            return False
        return True

    if (
        wait_until(lambda: serves() or etcd.poll() is not None, timeout=_START_PATIENCE)
        and etcd.poll() is None
    ):
        return
    words = last_words(log.read_text(errors="replace"))
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
