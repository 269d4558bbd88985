"""What is said of a backup, and signed: `NAME.json` and its signature `NAME.sig`, beside `NAME.snapshot.age`.

The signature is over the bytes of the manifest as they are, so `openssl pkeyutl -verify -rawin` checks it too. The
first field says what the bytes are, so that no signature of anything else can pass for one of a manifest.
"""

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from etcdplan.backup.errors import BackupError

SNAPSHOT: Final = ".snapshot.age"
INCLUDE: Final = ".include.age"
MANIFEST: Final = ".json"
SIGNATURE: Final = ".sig"
MAX_SIZE: Final = 1 << 20
"""Bytes that a manifest may have."""

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9.-]*-(\d{8}T\d{6}Z)-[0-9a-f]{8}")
_TIME: Final = "%Y%m%dT%H%M%SZ"

Level = Literal["checksum", "restore"]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Id = Annotated[str, Field(pattern=r"^[0-9a-f]{1,16}$")]
Count = Annotated[int, Field(ge=0, strict=True)]


class _Model(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True, serialize_by_alias=True
    )


class KvHash(_Model):
    """etcd's HashKV: of all keys after `compact_revision` up to `revision`."""

    hash: Count
    revision: Count
    compact_revision: Annotated[int, Field(ge=-1, strict=True)]
    """-1 when nothing was compacted yet."""


class Trial(_Model):
    """What a trial restore found: what `snapshot status` printed, and what an isolated etcd of `version` served."""

    version: str
    status_hash: Count
    revision: Count
    total_keys: Count
    total_size: Count
    keys: Count
    """Keys that the restored etcd serves."""
    kv_hash: KvHash
    compared_with_member: bool
    """Whether the hash was compared with, and equal to, that of the member: both must have compacted alike."""
    objects_read: Count
    """Kubernetes objects under /registry/ of a sample that were understood."""
    objects_encrypted: Count
    """Of these, how many are encrypted at rest (`k8s:enc:`) and were counted unread."""


class Origin(_Model):
    """How a backup was got that is not from a member which serves with quorum.

    `survivor`: from one that had lost it, over RPC; `data`: from what a stopped one left; `database`: from that
    without its log, so that the last writes are missing. Whether what was written past the entry `index` is in it is
    uncertain, acknowledged or not; there were entries up to `last`.
    """

    kind: Literal["survivor", "data", "database"]
    index: Count
    last: Count


def _plain_path(path: str) -> str:
    """Refuse what is not an absolute path that leads straight down."""
    top, *parts = path.split("/")
    if top or not parts or any(part in ("", ".", "..") or not part.isprintable() for part in parts):
        raise ValueError("is not a path that leads straight down")
    return path


class IncludedFile(_Model):
    """A file of a host. `mode` is octal, `owner` are names (`root:root`)."""

    host: Annotated[str, Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z.:-]*$")]
    path: Annotated[str, AfterValidator(_plain_path)]
    mode: Annotated[str, Field(pattern=r"^[0-7]{4}$")]
    owner: Annotated[str, Field(pattern=r"^[\w.-]+:[\w.-]+$")]
    size: Count
    sha256: Sha256

    @property
    def place(self) -> str:
        """Its name in the tar."""
        return f"{self.host}{self.path}"


class LeftOut(_Model):
    """A file that should be in a backup and is not, or a whole host."""

    host: str
    path: str | None = None
    why: str


class Include(_Model):
    """`NAME.include.age`: a tar of files of hosts."""

    size: Count
    sha256: Sha256
    encrypted_size: Count
    encrypted_sha256: Sha256
    files: tuple[IncludedFile, ...]
    left_out: tuple[LeftOut, ...]


class Manifest(_Model):
    """One backup. `revision` is the store's when the snapshot began: that and maybe later ones are in it."""

    kind: Literal["etcdplan.backup/v1"] = "etcdplan.backup/v1"
    name: str
    cluster: str
    cluster_id: Id
    member: str
    etcd_version: str
    revision: Count
    taken_at: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]
    size: Count
    sha256: Sha256
    encrypted_size: Count
    encrypted_sha256: Sha256
    recipients: tuple[str, ...]
    verified: Level
    origin: Origin | None = None
    kv_hash: KvHash | None = None
    """The member's, at `revision`, where it was asked for."""
    trial: Trial | None = None
    include: Include | None = None
    """Files of hosts, where any were to be taken."""
    made_by: str

    @property
    def time(self) -> int:
        """When the snapshot began, unix seconds."""
        return int(datetime.fromisoformat(self.taken_at).timestamp())

    def encoded(self) -> bytes:
        """Return the bytes of the file."""
        return self.model_dump_json(indent=2, exclude_none=True).encode() + b"\n"


def new_name(cluster: str, now: int, random: str) -> str:
    """Return a backup's name; `random` are 8 hexadecimal digits, so that two runs never take the same."""
    return f"{cluster}-{datetime.fromtimestamp(now, UTC).strftime(_TIME)}-{random}"


def written(now: int) -> str:
    """Return a time as a manifest has it."""
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def cluster_of(name: str) -> str:
    """Return the cluster that a backup's name says."""
    return name[: -len("-20260101T000000Z-00c0ffee")]


def time_of(name: str) -> int | None:
    """Return the time that a backup's name says, unix seconds; None for what is no such name."""
    if not (match := _NAME.fullmatch(name)):
        return None
    try:
        return int(datetime.strptime(match[1], _TIME).replace(tzinfo=UTC).timestamp())
    except ValueError:
        return None


def decode(content: bytes, name: str) -> Manifest:
    """Read a manifest whose signature was checked already; raise `BackupError`.

    A manifest says its own name, so that an old one under a new name is not taken for new.
    """
    try:
        manifest = Manifest.model_validate_json(content)
    except ValidationError as error:
        raise BackupError(f"The manifest of {name} cannot be read: {_first(error)}.") from None
    if manifest.name != name:
        raise BackupError(f"The manifest of {name} is that of another backup, {manifest.name!r}.")
    return manifest


def _first(error: ValidationError) -> str:
    fault: Any = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in fault["loc"])
    return f"{place}: {fault['msg']}" if place else str(fault["msg"])
