"""A restore that was decided: what every host must know to finish it, and nothing that the cluster or time chooses."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from etcdplan.model.identity import bootstrap_ids

BUMP = 1_000_000_000
"""By how much revisions go up, so that none that a client has seen comes again (etcd's page on recovery)."""


@dataclass(frozen=True, slots=True)
class Restore:
    """A snapshot's way into a new cluster, in the place of another one.

    `snapshot` is the backup's name, `sha256` that of the snapshot itself, `revision` the store's when it was taken.
    `members` are peer URLs with names; `replaces` is the ID of the old cluster. Revisions go up by `bump`. `verified`:
    the new members were seen to hold the same keys. `gone` are hosts of which the operator has said that they never
    come back: that they do not answer holds nothing up. `abandoned`: it is being taken back.
    """

    snapshot: str
    sha256: str
    revision: int
    members: tuple[tuple[str, str], ...]
    token: str
    bump: int
    replaces: int
    verified: bool = False
    gone: tuple[str, ...] = ()
    abandoned: bool = False

    @property
    def initial_settings(self) -> Mapping[str, str]:
        """Return the settings of which etcd and its tool make the new IDs; an empty etcd can do nothing with them."""
        return {
            "initial-cluster": ",".join(f"{name}={url}" for url, name in self.members),
            "initial-cluster-token": self.token,
            "initial-cluster-state": "existing",
        }

    @property
    def begins(self) -> int:
        """Return the revision at which the new cluster begins."""
        return self.revision + self.bump

    @property
    def ids(self) -> tuple[int, Mapping[str, int]]:
        """Return the ID of the new cluster, and those of its members by peer URL."""
        return bootstrap_ids(self.initial_settings)

    def same(self, other: "Restore | None") -> bool:
        """Whether both are one restore, however far it is."""
        if other is None or other is self:
            return other is self
        return self == replace(other, verified=self.verified, gone=self.gone, abandoned=self.abandoned)


def new_token(cluster: str, sha256: str, replaces: int) -> str:
    """Return the token for restoring a snapshot in the place of a cluster.

    It is another one each time, so that the old members' IDs never come again: with the same token, one that comes late
    would take part (etcd makes all IDs of peer URLs and token). The same request gives the same one, so that a plan
    which is made again is equal.
    """
    return f"etcdplan-{cluster}-{sha256[:12]}-{replaces:x}"


def bump_for(version: str, revision: int = 0, *, reached: int = 0, began: int = 0) -> int:
    """Return by how much to raise the revisions of a snapshot of a revision: so that none that was seen comes again.

    `reached` is the newest revision that is known of the cluster that is replaced, `began` the one at which that
    cluster began if it was restored itself: then its clients are ahead of the snapshot by all that was raised before.
    A version's tool can raise revisions since 3.4.27 and 3.5.10 (etcd CHANGELOGs); else this is 0.
    """
    major, minor, patch = (int(part) for part in version.split("."))
    since = (3, 4, 27) if (major, minor) == (3, 4) else (3, 5, 10)
    if (major, minor, patch) < since:
        return 0
    # Some is written between the look and the end of it all, or was written since a beginning.
    seen = max(reached + BUMP // 10 if reached else 0, began + BUMP - 1 if began else 0)
    return BUMP * (max(seen - revision, 0) // BUMP + 1)
