"""What takes a cluster's backups on a host of its own accord: a timer, and what its service needs."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

ETCDPLAN_PLACE = "/opt/etcdplan"
"""Where programs of etcdplan's lie on a host; those of etcd from an archive, too."""

BACKUP_LEAF = "backup"
"""The client certificate with which a backup host calls etcd."""


@dataclass(frozen=True, slots=True)
class BackupJob:
    """A host's job. `program` is the directory that etcdplan lies in, `files` are SHA-256s by path; empty for none.

    `waits`: the timer is enabled and active.
    """

    program: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    waits: bool = False
    signer: str = field(default="", compare=False)
    """The public key (PEM) of what it signs with. The private one is made on the host and never leaves it."""
    recipient: str = field(default="", compare=False)
    """The public half of the age identity that it opens its own backups with, which never leaves the host either."""
    failed: bool = field(default=False, compare=False)
    """Whether its last run failed."""


def sha256_of(text: str) -> str:
    """Return how a job's file is compared."""
    return hashlib.sha256(text.encode()).hexdigest()
