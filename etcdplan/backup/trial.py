"""A trial restore: the snapshot is restored into a scratch directory and served by an etcd that nobody else reaches."""

import json
from pathlib import Path
from typing import Final

from etcdplan.backup.errors import BackupError
from etcdplan.backup.etcd_tools import EtcdTools, restore_snapshot, run_tool
from etcdplan.backup.isolated import PEER, isolated_etcd
from etcdplan.backup.manifest import KvHash, Trial
from etcdplan.transport.errors import EtcdRejected, EtcdUnreachable
from etcdplan.transport.etcd import EtcdClient, KeyValue

_TOKEN: Final = "etcdplan-trial"  # noqa: S105 - no secret: it tells clusters apart
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
        peer_url=PEER,
        initial_cluster=f"trial={PEER}",
        token=_TOKEN,
    )
    try:
        with isolated_etcd(tools, data, scratch, name="trial", token=_TOKEN) as client:
            return _read(client, tools, status, member, at_least)
    except (EtcdUnreachable, EtcdRejected) as error:
        raise BackupError(f"The restored etcd could not be read: {error.message}") from None


def _status(snapshot: Path, tools: EtcdTools) -> dict[str, int]:
    text = run_tool([tools.snapshot_tool, "snapshot", "status", snapshot, "--write-out=json"], "read")
    try:
        said = json.loads(text)
        return {key: int(said[key]) for key in ("hash", "revision", "totalKey", "totalSize")}
    except (ValueError, KeyError, TypeError):
        raise BackupError(f"{tools.snapshot_tool.name} did not say what is in the snapshot.") from None


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
    read = encrypted = 0
    for one in client.sample(b"/registry/", limit=_SAMPLE, timeout=_CALL):
        read, encrypted = read + _is_object(one), encrypted + _is_encrypted(one)
        if not (_is_object(one) or _is_encrypted(one)):
            key = one.key.decode(errors="replace")
            raise BackupError(f"The restored value of {key!r} is no Kubernetes object.")
    return Trial(
        version=tools.version,
        status_hash=status["hash"],
        revision=revision,
        total_keys=status["totalKey"],
        total_size=status["totalSize"],
        keys=client.count(revision, timeout=_CALL),
        kv_hash=KvHash(hash=hashed.value, revision=at, compact_revision=hashed.compact_revision),
        compared_with_member=alike,
        objects_read=read,
        objects_encrypted=encrypted,
    )


def _is_object(one: KeyValue) -> bool:
    """Kubernetes stores JSON, or its protobuf envelope `k8s\\0` (apimachinery `runtime/serializer/protobuf`)."""
    return one.value.startswith((b"k8s\0", b"{"))


def _is_encrypted(one: KeyValue) -> bool:
    return one.value.startswith(b"k8s:enc:")
