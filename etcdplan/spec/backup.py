"""The backup policy of a cluster, as a part of its spec."""

import re
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, StrictBool

from etcdplan.spec.base import FilePath, Model
from etcdplan.spec.hosts import normalise_host
from etcdplan.spec.problems import Invalid, shown
from etcdplan.spec.schedule import parse
from etcdplan.spec.units import DurationMs

AGE_RECIPIENT: Final = r"^age1[02-9ac-hj-np-z]{58}$"
"""Bech32 of an X25519 public key (age v1)."""
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_PATH: Final = r"(/(?!\.{1,2}(/|$))[\w.=-]+)"
_USER: Final = r"([A-Za-z_][\w.-]{0,31}@)"
_HOST: Final = r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?"
_STORES: Final = {
    scheme: re.compile(f"{scheme}://{place}", re.ASCII)
    for scheme, place in {
        "s3": rf"[a-z0-9][a-z0-9.-]{{1,61}}[a-z0-9]{_PATH}*/?",
        "gs": rf"[a-z0-9][a-z0-9._-]{{1,61}}[a-z0-9]{_PATH}*/?",
        "az": rf"[a-z0-9][a-z0-9-]{{1,61}}[a-z0-9]{_PATH}*/?",
        "sftp": rf"{_USER}?({_HOST}|\[[0-9A-Fa-f:.]+\])(:\d{{1,5}})?{_PATH}+/?",
    }.items()
}
TAKE_OVER: Final = 600_000
_REMEDY: Final = "write a directory, or s3://bucket/prefix, gs://bucket/prefix, az://container/prefix, sftp://user@host/path"


def _destination(value: str) -> str:
    """Refuse every URL but that of a bucket; what might be a credential is not shown."""
    scheme = _SCHEME.match(value)
    chained = "::" in re.sub(r"\[[0-9A-Fa-f:.]+\]", "", value)
    if scheme is None and not chained:
        return value
    if scheme is None or chained:
        raise Invalid("chains of URLs are not taken", _REMEDY)
    if scheme[1] not in _STORES:
        raise Invalid(f"{shown(scheme[1])} is not a kind of store that backups go to", _REMEDY)
    if not _STORES[scheme[1]].fullmatch(value):
        what = "a user, a host and a path alone" if scheme[1] == "sftp" else "a bucket and a prefix alone"
        raise Invalid(f"is not {what}", f"{_REMEDY}; credentials come from the environment")
    try:
        named = scheme[1] != "sftp" or urlsplit(value).port != 0
    except ValueError:  # An address or a port that there is not.
        named = False
    if not named:
        raise Invalid("names no host and port that there can be", _REMEDY)
    return value


def _schedule(value: str | None) -> str | None:
    if value is not None:
        parse(value)
    return value


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

    destinations: Annotated[
        list[Annotated[FilePath, AfterValidator(_destination)]], Field(min_length=1, max_length=8)
    ]
    """Directories, relative to that of the spec, `sftp://user@host/path`, and buckets (`s3://bucket/prefix`,
    `gs://bucket/prefix`, `az://container/prefix`): every backup goes to each."""
    encryption: Encryption
    schedule: Annotated[
        str | None, AfterValidator(_schedule), Field(exclude_if=lambda text: text is None)
    ] = None
    """When backups are to be taken: the five fields of cron, in UTC, or `@hourly`, `@daily`, `@weekly`, `@monthly`."""
    verify: Literal["checksum", "restore"] = "restore"
    """`restore`: a backup counts only after it was read back, restored and served by an etcd of its own."""
    include: StrictBool = True
    """Whether files of the hosts go with each snapshot that a cluster needs to come back: Kubernetes' authorities, the
    keys of service accounts, the configuration of encryption at rest, units and manifests, of hosts that have them."""
    retention: Retention | None = None
    """What 'etcdplan backup prune' keeps; without it nothing may be pruned."""
    max_age: DurationMs | None = None
    """How old the newest backup may be, by default twice the longest pause of the schedule; while it is older, nothing
    is pruned."""
    max_trial_age: Annotated[DurationMs | None, Field(exclude_if=lambda age: age is None)] = None
    """How old the newest that was restored on trial may be; with `verify: checksum`, 'backup run --trial' makes one."""
    hosts: Annotated[
        list[Annotated[str, AfterValidator(normalise_host), Field(max_length=253)]],
        Field(max_length=4, exclude_if=lambda hosts: not hosts),
    ] = []
    """The hosts on which `apply` installs a timer that takes backups on the schedule; members may be among them."""
    take_over_after: Annotated[DurationMs, Field(exclude_if=lambda wait: wait == TAKE_OVER)] = TAKE_OVER
    """How long each host of `hosts` waits for the one before it; then it takes the backup that is due and missing."""

    @property
    def oldest(self) -> int | None:
        """Return how many seconds old the newest may be; None when neither `maxAge` nor a schedule says so."""
        if self.max_age is not None:
            return self.max_age // 1000
        return None if self.schedule is None else 2 * parse(self.schedule).longest_pause
