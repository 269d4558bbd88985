"""The desired state of one cluster, as a user writes it (`apiVersion: etcdplan/v1`).

Field names are camelCase in YAML. Unknown keys are errors. Durations and sizes take units and are held as
integers (milliseconds, bytes). Whatever grants trust or runs code is not part of a spec: it comes from the
runner's side.
"""

from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    Discriminator,
    Field,
    StrictBool,
    Tag,
    model_validator,
)

from etcdplan.spec.backup import AGE_RECIPIENT, Backup
from etcdplan.spec.base import FILE, FilePath, Model
from etcdplan.spec.consistency import conflicts
from etcdplan.spec.flags import check_api_server_flags, check_etcd_flags
from etcdplan.spec.hosts import normalise_host
from etcdplan.spec.problems import PKI_INIT, Invalid
from etcdplan.spec.units import DurationMs, SizeBytes, format_duration

_NAME: Final = r"^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$"
_FAILURE_DOMAIN: Final = r"^[A-Za-z0-9]([A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?$"
_ETCD_VERSION: Final = r"^3\.[4-7]\.(0|[1-9][0-9]{0,2})$"
_DIRECTORY: Final = r"^(/[^/\x00-\x1f\x7f]+)+$"
_SHA256: Final = r"^[0-9a-f]{64}$"
_USER: Final = r"^[a-z_][a-z0-9_.-]{0,31}$"
_UNIT: Final = r"^[A-Za-z0-9_.@-]{1,120}\.service$"
_URL: Final = r"^https?://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}$"

PATTERN_WORDS: Final = {
    _NAME: ("a name", "use lower-case letters, digits, '-' and '.', at most 63"),
    _FAILURE_DOMAIN: ("a failure domain", "use letters, digits and . _ / -, at most 63"),
    _ETCD_VERSION: (
        "an etcd version that etcdplan knows",
        "write all three numbers, 3.4.x to 3.7.x, such as 3.6.16",
    ),
    FILE: ("a file's path", "write it on one line, without control characters"),
    _DIRECTORY: (
        "a directory's absolute path",
        "start it with '/', without '/' at the end, such as /var/lib/etcd",
    ),
    _SHA256: ("a SHA-256", "write its 64 lower-case hexadecimal digits, as sha256sum prints them"),
    _USER: ("a user's name", "write it as in /etc/passwd, such as ops"),
    _UNIT: ("a systemd service", "write its whole name, such as kube-apiserver.service"),
    AGE_RECIPIENT: ("an age recipient", "write the public key that age-keygen prints, age1…"),
    _URL: ("a URL", "write scheme, host and port and nothing else, such as https://etcd.lb:2379"),
}
"""For people: what each pattern stands for, and how to write one."""


def _plain(path: str) -> str:
    if {".", ".."} & set(path.split("/")):
        raise Invalid("'.' and '..' cannot be part of it", "write the path in full")
    return path


Name = Annotated[str, Field(pattern=_NAME)]
Host = Annotated[str, AfterValidator(normalise_host), Field(max_length=253)]
Port = Annotated[int, Field(strict=True, ge=1, le=65535)]
AbsolutePath = Annotated[str, Field(pattern=_DIRECTORY), AfterValidator(_plain)]


class Metadata(Model):
    """Which cluster this is."""

    name: Name


class Source(Model):
    """An archive that etcd is taken from, as its releases are: a .tar.gz with `DIRECTORY/etcd`."""

    archive: FilePath
    """A file of the runner, relative to the spec's directory."""
    sha256: Annotated[str, Field(pattern=_SHA256)]
    """What the archive's SHA-256 must be; nothing of it is sent anywhere before that was checked."""


class Etcd(Model):
    """Settings that all members share."""

    version: Annotated[str, Field(pattern=_ETCD_VERSION)]
    runtime: Literal["systemd", "process"] = "systemd"
    """What runs etcd and the API servers: `systemd`, on hosts behind SSH, or `process`, in a lab on this machine."""
    source: Source | None = None
    """Where etcd's program comes from (runtime `systemd`); without it the hosts must have it already."""
    data_dir: AbsolutePath = "/var/lib/etcd"
    wal_dir: AbsolutePath | None = None
    """Where the write-ahead log goes, if not into the data directory."""
    quota_backend: SizeBytes = 8 * 1024**3
    """How large the database may become before etcd refuses writes."""
    heartbeat_interval: DurationMs = 100
    election_timeout: DurationMs = 1000
    extra_args: Annotated[dict[str, str], AfterValidator(check_etcd_flags)] = {}
    """Further flags of etcd, without the dashes in front."""
    allow_outage: StrictBool = False
    """Lets a change restart the members of a cluster of one or two, which stops it for a moment."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        faults = []
        # etcd refuses to start otherwise: server/embed/config.go, Validate.
        if self.election_timeout < 5 * self.heartbeat_interval:
            least = format_duration(5 * self.heartbeat_interval)
            remedy = f"make it at least {least}, five times 'heartbeatInterval'"
            faults.append(Invalid("too short for the heartbeat", remedy, within=("electionTimeout",)))
        if self.source is not None and self.runtime == "process":
            remedy = "leave it out; 'etcdplan lab up --etcd-dir' says which programs a lab runs"
            faults.append(Invalid("only runtime systemd takes an archive", remedy, within=("source",)))
        if self.election_timeout > 50_000:
            faults.append(Invalid("etcd takes at most 50s", "1s suits most", within=("electionTimeout",)))
        if self.wal_dir is not None and _nested(self.wal_dir, self.data_dir):
            remedy = "write a directory of its own, or leave 'walDir' out"
            faults.append(Invalid("it and 'dataDir' must not hold one another", remedy, within=("walDir",)))
        if faults:
            raise Invalid.together(faults)
        return self


class Ssh(Model):
    """How hosts are logged in to. Keys, known hosts and jump hosts are the runner's own."""

    user: Annotated[str, Field(pattern=_USER)] | None = None
    """The user, if not the one of the runner's SSH configuration."""
    port: Port | None = None
    """sshd's port, if not the one of the runner's SSH configuration."""


class Access(Model):
    """How etcdplan reaches the hosts and their etcds (runtime `systemd`)."""

    ssh: Ssh = Ssh()
    etcd: Literal["ssh-tunnel", "direct"] = "ssh-tunnel"
    """`direct`: what is only read from etcd is read without a tunnel; etcd's client port must be open to the runner."""


class Member(Model):
    """One member; it is addressed by its peer URL."""

    name: Name
    host: Host
    """An IP address or a DNS name that the other hosts reach."""
    failure_domain: Annotated[str, Field(pattern=_FAILURE_DOMAIN)] | None = None
    """What fails together with the host, such as its zone or rack."""
    peer_port: Port = 2380
    client_port: Port = 2379

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.peer_port == self.client_port:
            remedy = "peers and clients need a port each"
            raise Invalid(f"{self.client_port} is also the 'peerPort'", remedy, within=("clientPort",))
        return self


class KeyPair(Model):
    """Paths of a certificate and its private key, relative to the spec's directory."""

    certificate: FilePath
    key: FilePath


class Tls(Model):
    """Where trust comes from."""

    mode: Literal["managed", "none"] = "managed"
    """`managed`: etcdplan issues the certificates. `none`: no TLS at all."""
    ca: KeyPair | None = None
    """The authority that issues all certificates of the cluster."""
    operator: KeyPair | None = None
    """The client certificate with which etcdplan itself talks to etcd."""
    renew_before: DurationMs = 30 * 86_400_000
    """How long before its end a certificate is renewed."""
    validity: DurationMs = 365 * 86_400_000
    """How long a member's or an API server's certificate is valid from its issue."""
    allow_plaintext: StrictBool = False
    """The explicit override that `mode: none` needs."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        faults = []
        if self.mode == "managed":
            pairs = {"ca": self.ca, "operator": self.operator}
            remedy = f"{PKI_INIT} makes it"
            faults = [
                Invalid("mode managed needs it", remedy, within=(k,)) for k, v in pairs.items() if v is None
            ]
            if self.renew_before >= self.validity:
                faults.append(Invalid("must be shorter than 'validity'", within=("renewBefore",)))
        elif not self.allow_plaintext:
            remedy = "use 'mode: managed', or set 'allowPlaintext: true' if that is meant"
            faults = [Invalid("mode none sends all data in the clear", remedy, within=("mode",))]
        if faults:
            raise Invalid.together(faults)
        return self


def _normalise_url(url: str) -> str:
    parts = urlsplit(url)
    host = normalise_host(parts.netloc.rpartition(":")[0].strip("[]"))
    port = int(parts.netloc.rpartition(":")[2])
    if not 1 <= port <= 65535:
        raise Invalid(f"{port} is not a port", "write one from 1 to 65535")
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{port}"


class LoadBalancer(Model):
    """API servers reach etcd through one URL that the members stand behind."""

    load_balancer: Annotated[str, Field(pattern=_URL), AfterValidator(_normalise_url)]


class ApiServer(Model):
    """One kube-apiserver instance."""

    name: Name
    host: Host
    port: Port = 6443
    member: Name | None = None
    """With `connect: own`: the member that this instance talks to."""
    unit: Annotated[str, Field(pattern=_UNIT)] | None = None
    """Its systemd unit, if not `kube-apiserver-NAME.service`, or `kube-apiserver.service` for the only one."""


def _connection(value: Any) -> str | None:
    if isinstance(value, dict | LoadBalancer):
        return "a load balancer"
    return "a mode" if isinstance(value, str) else None


Connect = Annotated[
    Annotated[Literal["all", "own"], Tag("a mode")] | Annotated[LoadBalancer, Tag("a load balancer")],
    Discriminator(
        _connection,
        custom_error_type="connect",
        custom_error_message="must be all, own, or {loadBalancer: https://HOST:PORT}",
    ),
]


class ApiServers(Model):
    """The kube-apiservers that use the cluster, and how they reach it."""

    connect: Connect = "all"
    """`all` members, their `own` member each, or through a load balancer."""
    drain: Annotated[Name | None, Field(exclude_if=lambda name: name is None)] = None
    """With `connect: own`: the hook, defined by the runner, that routes an instance's clients away and back."""
    instances: list[ApiServer] = []
    flags: Annotated[dict[str, str], AfterValidator(check_api_server_flags)] = {}
    """Further `etcd-*` flags, without the dashes in front."""


class Restore(Model):
    """What is done after a restore."""

    restart: list[Annotated[str, Field(pattern=_UNIT)]] = [
        "kube-controller-manager.service",
        "kube-scheduler.service",
        "kubelet.service",
    ]
    """systemd services that remember what was, restarted on every host that runs them when the API servers are up."""


class ClusterSpec(Model):
    """Everything that is wanted of the cluster."""

    etcd: Etcd
    access: Access = Access()
    members: Annotated[list[Member], Field(min_length=1, max_length=9)]
    tls: Tls
    api_servers: ApiServers = ApiServers()
    backup: Annotated[Backup | None, Field(exclude_if=lambda policy: policy is None)] = None
    """Where backups go, and when one counts; without it none can be made."""
    restore: Annotated[Restore, Field(exclude_if=lambda restore: restore == Restore())] = Restore()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if faults := conflicts(self):
            raise Invalid.together(faults)
        return self


class Spec(Model):
    """The desired state of one etcd cluster and of the API servers that use it."""

    api_version: Literal["etcdplan/v1"]
    kind: Literal["EtcdCluster"]
    metadata: Metadata
    spec: ClusterSpec


def _nested(one: str, other: str) -> bool:
    return f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/")
