"""Machines of the fake world: disks and processes, nothing that etcdplan's model knows."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from etcdplan.model.backup_job import BackupJob
from tests.support.fake_etcd import FakeData
from tests.support.fake_pki import describe_leaf, describe_trust, key_of

ETCD_UNIT = "etcd"
RECORD_FILE = "record.json"


def split_url(url: str) -> tuple[str, str, int]:
    """Return scheme, host without brackets, and port."""
    scheme, _, rest = url.partition("://")
    host, _, port = rest.rpartition(":")
    return scheme, host.strip("[]"), int(port)


@dataclass(eq=False)
class FakeProcess:
    """A process, with what it read when it started."""

    pid: int
    machine: "FakeMachine"
    unit: str
    settings: dict[str, str]
    started: float
    version: str
    trust: tuple[str, ...]
    by_effect: bool
    up: bool = False
    """Its sockets are open."""
    stopped: bool = False
    """SIGSTOP."""
    ready: bool = False
    """etcd: it has published itself and answers clients. API server: /readyz."""
    publishes_at: float = 0.0
    data: FakeData | None = None
    connected: "FakeProcess | None" = None
    """The etcd that an API server has a connection to."""
    cluster: object | None = None
    """The cluster that an API server first connected to."""

    @cached_property
    def peer_tls(self) -> bool:
        """Whether it talks TLS with its peers."""
        return self.settings.get("listen-peer-urls", "").startswith("https")

    @cached_property
    def client_sockets(self) -> frozenset[int]:
        """The ports that it serves clients on."""
        return frozenset(
            split_url(url)[2] for url in self.settings.get("listen-client-urls", "").split(",") if url
        )

    @cached_property
    def client_tls(self) -> bool:
        """Whether it talks TLS with clients."""
        return self.settings.get("listen-client-urls", "").startswith("https")

    @cached_property
    def peer_sockets(self) -> frozenset[int]:
        """The ports that it serves peers on."""
        return frozenset(
            split_url(url)[2] for url in self.settings.get("listen-peer-urls", "").split(",") if url
        )

    @cached_property
    def endpoints(self) -> tuple[str, ...]:
        """The endpoints of an API server."""
        return tuple(url for url in self.settings.get("etcd-servers", "").split(",") if url)


@dataclass(eq=False)
class FakeUnit:
    """A unit: its settings file and its process. `settings` is None when there is no file."""

    settings: dict[str, str] | None = None
    process: FakeProcess | None = None
    held: bool = False
    drained: bool = False
    """As noted by an effect; what a hook has done is the world's."""
    failing: bool = False
    enabled: bool = False
    """It was started and is to run again after a boot."""
    tries: int = 0
    """Unsuccessful runs since it was last started on purpose."""
    last_exit: int | None = None
    starts: int = 0
    armed: dict[str, str] | None = None
    """The former settings, while the dead-man may put them back."""
    rolled_back: str = ""


@dataclass(eq=False)
class FakePair:
    """A certificate and the name of the private key beside it."""

    certificate: bytes
    key: str

    @property
    def has_its_key(self) -> bool:
        """Whether the key is the certificate's."""
        return key_of(self.certificate) == self.key

    def fits(self, *, now: float, usage: str, name: str | None = None) -> bool:
        """Whether it can be shown now, for this use and under this name."""
        leaf = describe_leaf(self.certificate)
        return (
            self.has_its_key
            and leaf.not_after > now
            and usage in leaf.usages
            and (name is None or name in leaf.sans)
        )

    def trusted_by(self, trust: tuple[str, ...]) -> bool:
        """Whether somebody with this bundle accepts its issuer."""
        return describe_leaf(self.certificate).issuer in trust


@dataclass(eq=False)
class FakeMachine:
    """One machine. All but `units`' processes, `powered`, `connected` and `guard` lies on its disk."""

    address: str
    version: str
    files: dict[str, bytes] = field(default_factory=dict)
    """etcdplan's own directory; names are relative."""
    units: dict[str, FakeUnit] = field(default_factory=lambda: {ETCD_UNIT: FakeUnit()})
    data: FakeData | None = None
    aside: list[FakeData] = field(default_factory=list)
    staged: FakeData | None = None
    restarted: float = 0.0
    """When the services that remember a cluster were started anew."""
    frozen: int = 0
    """Seconds that its data stand still at most."""
    pairs: dict[str, FakePair] = field(default_factory=dict)
    new_keys: dict[str, str] = field(default_factory=dict)
    bundle: bytes | None = None
    program: str | None = None
    job: BackupJob | None = None
    """Where etcd from an archive lies."""
    strays: dict[str, Mapping[str, str]] = field(default_factory=dict)
    """Flags of API servers that no unit runs, by what runs them."""
    hidden: dict[str, str] = field(default_factory=dict)
    """Facts that cannot be read, each with the reason."""
    powered: bool = True
    connected: bool = True
    """Whether controllers reach it."""
    full: bool = False
    guard: object | None = None
    """Whoever holds the guard."""

    @property
    def etcd(self) -> FakeUnit:
        """The etcd unit."""
        return self.units[ETCD_UNIT]

    def unit(self, name: str) -> FakeUnit:
        """Return a unit; one that is not there yet is an empty one."""
        return self.units.setdefault(name, FakeUnit())

    @property
    def reachable(self) -> bool:
        """Whether it answers controllers."""
        return self.powered and self.connected

    @property
    def record(self) -> bytes | None:
        """What the machine remembers of its cluster."""
        return self.files.get(RECORD_FILE)

    @property
    def trust(self) -> tuple[str, ...]:
        """The issuers that a process that starts now would trust."""
        return describe_trust(self.bundle) if self.bundle is not None else ()
