"""What a spec asks of each host, spelled out in the model's own terms.

Pure: it takes the spec and the fingerprint of the CA certificate that the spec names.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from etcdplan.diff.backup_host import JobTarget, job
from etcdplan.model.backup_job import BACKUP_LEAF
from etcdplan.model.identity import bootstrap_ids
from etcdplan.model.restore import Restore
from etcdplan.model.state import PROGRAM, Settings, api_server_unit
from etcdplan.spec.backup import Backup, Retention
from etcdplan.spec.models import LoadBalancer, Spec

PKI = "/etc/etcdplan/pki"
CA_FILE = f"{PKI}/ca.crt"
API_SERVER_CN = "kube-apiserver-etcd-client"
BACKUP_CN = "etcdplan-backup"


def program_path(version: str, sha256: str) -> str:
    """Return where etcd from an archive lies: versions and builds stand beside each other."""
    return f"/opt/etcdplan/etcd-{version}-{sha256[:16]}/etcd"


def leaf_files(leaf: str) -> tuple[str, str]:
    """Return the paths of a leaf's certificate and key on its host."""
    return f"{PKI}/{leaf}/tls.crt", f"{PKI}/{leaf}/tls.key"


@dataclass(frozen=True, slots=True)
class LeafTarget:
    """A certificate that a host must have. Times are in seconds."""

    name: str
    common_name: str
    sans: tuple[str, ...]
    usages: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MemberTarget:
    """A member as it must be; `settings` are those that a member with data reads."""

    name: str
    host: str
    peer_url: str
    client_url: str
    settings: Settings
    leafs: tuple[LeafTarget, ...]
    shut_in: Settings = field(default_factory=dict)
    """The settings with which only its own host reaches it as a client; none where its address is a loopback one."""


@dataclass(frozen=True, slots=True)
class ApiServerTarget:
    """An API server as it must be; `settings` lack `etcd-servers`, which follows the membership."""

    name: str
    host: str
    unit: str
    member: str | None
    settings: Settings
    leafs: tuple[LeafTarget, ...]


@dataclass(frozen=True, slots=True)
class BackupHostTarget:
    """A host that takes backups by itself; `name` is its address."""

    name: str
    host: str
    leafs: tuple[LeafTarget, ...]
    job: JobTarget


Owner = MemberTarget | ApiServerTarget | BackupHostTarget
"""Who has certificates."""


@dataclass(frozen=True, slots=True)
class BackupTarget:
    """The policy for backups. Ages are in seconds."""

    destinations: tuple[str, ...]
    verify: str
    retention: Retention | None
    max_age: int | None
    max_trial_age: int | None
    recipients: tuple[str, ...] = ()
    trusted_keys: tuple[str, ...] = ()
    """PEM; known only where there are hosts that take backups by themselves."""


@dataclass(frozen=True, slots=True)
class Target:
    """Everything that the spec asks for. `members` is by peer URL; `ca` is empty when TLS is off."""

    cluster: str
    version: str
    members: Mapping[str, MemberTarget]
    api_servers: Mapping[str, ApiServerTarget]
    connect: str
    load_balancer: str | None
    ca: str
    token: str
    renew_before: int
    leaf_lifetime: int
    allow_outage: bool
    drain: str
    """The hook that routes an API server's clients away and back, empty for none."""
    program: str
    """Where etcd from the spec's archive lies on its hosts; empty when the hosts have theirs already."""
    initial_cluster: str
    founding_id: int
    """The ID that the cluster will have when it is bootstrapped from this spec."""
    backup: BackupTarget | None = None
    """What the spec asks of backups; None when it has none."""
    restore: Restore | None = None
    """The restore that was asked for; once it has begun, what the hosts know of it counts."""
    abandon: bool = False
    """Whether a restore that is under way shall be taken back."""
    restart: tuple[str, ...] = ()
    """The units that are restarted on every host, where they run, after a restore."""

    backup_hosts: Mapping[str, BackupHostTarget] = field(default_factory=dict)
    """The hosts that take backups by themselves, by address."""

    @property
    def member_hosts(self) -> Mapping[str, MemberTarget]:
        """Return the members by the host that they live on."""
        return {member.host: member for member in self.members.values()}

    def only_takes_backups(self, host: str) -> bool:
        """Whether a host has no other part in the cluster."""
        serves = host in self.member_hosts or any(one.host == host for one in self.api_servers.values())
        return host in self.backup_hosts and not serves

    def hosts(self) -> tuple[str, ...]:
        """Return every host that the spec names, members' first, backup hosts' last."""
        named = [member.host for member in self.members.values()]
        named += [server.host for server in self.api_servers.values()]
        named += self.backup_hosts
        return tuple(dict.fromkeys(named))


def _url(scheme: str, host: str, port: int) -> str:
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _listen(scheme: str, host: str, port: int) -> str:
    """Return a listen URL; etcd listens on addresses, not on names (etcd `embed`, checkBindURLs)."""
    is_address = ":" in host or host.replace(".", "").isdigit()
    return _url(scheme, host if is_address else "0.0.0.0", port)  # noqa: S104


def _shut_in(scheme: str, host: str, port: int) -> Settings:
    if host.startswith("127.") or host == "::1":
        return {}
    url = _url(scheme, "127.0.0.1", port)
    return {"listen-client-urls": url, "advertise-client-urls": url}


def build_target(spec: Spec, *, ca: str, trusted_keys: tuple[str, ...] = ()) -> Target:
    """Spell a spec out. `ca` is the SPKI fingerprint (SHA-256, hex) of the CA's certificate, empty without TLS.

    `trusted_keys` (PEM) are those whose signatures make a backup count.
    """
    body = spec.spec
    etcd, tls = body.etcd, body.tls
    managed = tls.mode == "managed"
    scheme = "https" if managed else "http"
    connect = body.api_servers.connect
    balancer = connect.load_balancer if isinstance(connect, LoadBalancer) else None
    program = program_path(etcd.version, etcd.source.sha256) if etcd.source else ""
    members: dict[str, MemberTarget] = {}
    for member in body.members:
        peer, client = (_url(scheme, member.host, port) for port in (member.peer_port, member.client_port))
        settings = {
            "name": member.name,
            "data-dir": etcd.data_dir,
            "listen-peer-urls": _listen(scheme, member.host, member.peer_port),
            "listen-client-urls": _listen(scheme, member.host, member.client_port),
            "advertise-client-urls": client,
            "heartbeat-interval": str(etcd.heartbeat_interval),
            "election-timeout": str(etcd.election_timeout),
            "quota-backend-bytes": str(etcd.quota_backend),
            **({"wal-dir": etcd.wal_dir} if etcd.wal_dir else {}),
            **(_member_tls() if managed else {}),
            **etcd.extra_args,
            **({PROGRAM: program} if program else {}),
        }
        local = {member.host, "localhost", "127.0.0.1"}
        entry = {balancer.split("://", 1)[1].rsplit(":", 1)[0].strip("[]")} if balancer else set()
        both = ("client", "server")
        leafs = (
            LeafTarget("server", member.name, tuple(sorted(local | entry)), both),
            LeafTarget("peer", member.name, tuple(sorted(local)), both),
        )
        members[peer] = MemberTarget(
            member.name,
            member.host,
            peer,
            client,
            settings,
            leafs if managed else (),
            _shut_in(scheme, member.host, member.client_port),
        )
    servers = {}
    for instance in body.api_servers.instances:
        leaf = f"apiserver-{instance.name}"
        certificate, key = leaf_files(leaf)
        files = {"etcd-cafile": CA_FILE, "etcd-certfile": certificate, "etcd-keyfile": key} if managed else {}
        servers[instance.name] = ApiServerTarget(
            instance.name,
            instance.host,
            api_server_unit(instance.name),
            instance.member,
            {**files, **body.api_servers.flags},
            (LeafTarget(leaf, API_SERVER_CN, (), ("client",)),) if managed else (),
        )
    token = f"etcdplan-{spec.metadata.name}"
    everyone = ",".join(f"{member.name}={member.peer_url}" for member in members.values())
    return Target(
        cluster=spec.metadata.name,
        version=etcd.version,
        members=members,
        api_servers=servers,
        connect="all" if isinstance(connect, LoadBalancer) else connect,
        load_balancer=balancer,
        ca=ca,
        token=token,
        renew_before=tls.renew_before // 1000,
        leaf_lifetime=tls.validity // 1000,
        allow_outage=etcd.allow_outage,
        drain=body.api_servers.drain or "",
        program=program,
        initial_cluster=everyone,
        restart=tuple(body.restore.restart) if etcd.runtime == "systemd" else (),
        founding_id=bootstrap_ids({"initial-cluster": everyone, "initial-cluster-token": token})[0],
        backup=_backup(body.backup, trusted_keys) if body.backup else None,
        backup_hosts=dict(_backup_hosts(spec, trusted_keys, program)),
    )


def _backup_hosts(
    spec: Spec, trusted_keys: tuple[str, ...], program: str
) -> Iterator[tuple[str, BackupHostTarget]]:
    policy = spec.spec.backup
    leaf = LeafTarget(BACKUP_LEAF, BACKUP_CN, (), ("client",))
    leafs = (leaf,) if spec.spec.tls.mode == "managed" else ()
    for number, host in enumerate(policy.hosts if policy else ()):
        files = (CA_FILE, *leaf_files(BACKUP_LEAF))
        yield (
            host,
            BackupHostTarget(host, host, leafs, job(spec, number, trusted_keys, pki=files, etcd=program)),
        )


def _backup(policy: Backup, trusted_keys: tuple[str, ...]) -> BackupTarget:
    trial = None if policy.max_trial_age is None else policy.max_trial_age // 1000
    who = tuple(policy.encryption.recipients), trusted_keys
    return BackupTarget(
        tuple(policy.destinations), policy.verify, policy.retention, policy.oldest, trial, *who
    )


def _member_tls() -> dict[str, str]:
    server, server_key = leaf_files("server")
    peer, peer_key = leaf_files("peer")
    return {
        "cert-file": server,
        "key-file": server_key,
        "trusted-ca-file": CA_FILE,
        "client-cert-auth": "true",
        "peer-cert-file": peer,
        "peer-key-file": peer_key,
        "peer-trusted-ca-file": CA_FILE,
        "peer-client-cert-auth": "true",
    }
