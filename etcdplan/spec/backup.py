"""The backup policy of a cluster, as a part of its spec."""

from typing import Annotated, Final, Literal

from pydantic import Field

from etcdplan.spec.base import FilePath, Model
from etcdplan.spec.units import DurationMs

AGE_RECIPIENT: Final = r"^age1[02-9ac-hj-np-z]{58}$"
"""Bech32 of an X25519 public key (age v1)."""


class Encryption(Model):
    """Who can read backups, and whose signature makes one count."""

    recipients: Annotated[list[Annotated[str, Field(pattern=AGE_RECIPIENT)]], Field(min_length=1)]
    """The age recipients of every snapshot; with two, the loss of one identity is not that of all backups."""
    signing_key: FilePath
    """The Ed25519 key that signs manifests, plain or encrypted with age; 'etcdplan backup keygen' makes it."""
    trusted_keys: Annotated[list[FilePath], Field(min_length=1)]
    """The public keys of all who may sign, former ones included as long as their backups are kept."""


class Retention(Model):
    """How many backups each destination keeps: the last ones, and the newest of so many hours, days, weeks and months.

    Periods are those of UTC, and only those that have a backup count. The newest that was restored is always kept.
    """

    last: Annotated[int, Field(ge=1)] = 24
    hourly: Annotated[int, Field(ge=0)] = 0
    daily: Annotated[int, Field(ge=0)] = 0
    weekly: Annotated[int, Field(ge=0)] = 0
    monthly: Annotated[int, Field(ge=0)] = 0


class Backup(Model):
    """Where backups go, and when one counts."""

    destinations: Annotated[list[FilePath], Field(min_length=1)]
    """Directories, relative to that of the spec: every backup goes to each of them."""
    encryption: Encryption
    verify: Literal["checksum", "restore"] = "restore"
    """`restore`: a backup counts only after it was read back, restored and served by an etcd of its own."""
    retention: Retention | None = None
    """What 'etcdplan backup prune' keeps; without it nothing may be pruned."""
    max_age: DurationMs | None = None
    """How old the newest backup may be; while it is older, nothing is pruned."""
