"""What the hosts are told of a restore that somebody asks for."""

from etcdplan.diff.target import Target
from etcdplan.model.restore import Restore, bump_for, new_token


def asked_restore(
    target: Target,
    replaces: int,
    *,
    snapshot: str = "n-20260101T000000Z-00c0ffee",
    sha256: str = "5a" * 32,
    revision: int = 1234,
    gone: tuple[str, ...] = (),
) -> Restore:
    """Ask for a snapshot to come, with a target's members, in the place of the cluster with an ID."""
    members = tuple((url, member.name) for url, member in sorted(target.members.items()))
    token = new_token(target.cluster, sha256, replaces)
    return Restore(snapshot, sha256, revision, members, token, bump_for(target.version), replaces, gone=gone)
