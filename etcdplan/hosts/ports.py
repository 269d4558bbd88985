"""How the rest of etcdplan sees a host: three small interfaces that every runtime and transport offers.

`HostReader` looks, `HostStore` keeps etcdplan's own files, `HostEffects` changes things. The real ones live in
`hosts/` and `transport/`; the tests have a fake world behind the same interfaces.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from etcdplan.errors import EtcdplanError, OutcomeUnknownError
from etcdplan.hosts.job_files import BackupJobFiles, PackedProgram
from etcdplan.model.backup_job import BackupJob
from etcdplan.model.facts import ABSENT, Fact
from etcdplan.model.machine import UNMEASURED, Figures, Machine
from etcdplan.model.restore import Restore
from etcdplan.model.state import Data, Settings, Unit

STATE_DIR = "/var/lib/etcdplan"
"""Where a host keeps its record, the lock, the journal and the claims of effects."""

LOCK_FILE = "lock.json"
"""In a `HostStore`: who may change the host (`apply.lock_file`)."""

JOURNAL_DIR = "journal"
"""In a `HostStore`: the journals of runs, each named `TOKEN-ID.jsonl` (`apply.journal`)."""

HEARTBEAT_FILE = "dead-man/heartbeat"
"""In a `HostStore`: the run's token, a space, and what is new with every beat, for the dead-men of the host."""

STORE_NAME = re.compile(r"[A-Za-z0-9_%][A-Za-z0-9._%-]*(/[A-Za-z0-9_%][A-Za-z0-9._%-]*)*")
"""Names in a `HostStore`."""


class HostUnreachable(EtcdplanError):
    """The host does not answer; nothing is known of what is on it."""

    exit_code = 8


class HostRefused(EtcdplanError):
    """The host definitely did not do it: a full disk, a missing permission, a process that did not start."""

    exit_code = 6


class Fenced(EtcdplanError):
    """Another controller has taken over; this one must not change anything any more."""

    exit_code = 4


def taken_over(address: str, directory: object, found: object, token: int) -> Fenced:
    """Return what to raise when the host's lock has the token `found` (None: none can be read) and not this run's.

    `directory` is where the host keeps its lock.
    """
    held = "no lock that can be read" if found is None else f"the lock with token {found}"
    anew = f" If none is under way, remove {directory}/{LOCK_FILE} from {address}; it is written anew."
    damaged = anew if found is None else ""
    return Fenced(
        f"Host {address} has {held}, this run has token {token}: another run has taken over.",
        hint=f"Let the other run end, then plan again.{damaged}",
    )


class HostOutcomeUnknown(OutcomeUnknownError):
    """The connection broke after the request left; whether the effect happened must be observed."""


@dataclass(frozen=True, slots=True)
class LeafFile:
    """A certificate as it lies on a host; the key never leaves the host, only whether it fits does."""

    certificate_pem: bytes
    key_matches: bool


@dataclass(frozen=True, slots=True)
class ProgramFiles:
    """etcd as it comes from an archive: `path` on the host, and that file and those beside it, by name."""

    path: str
    version: str
    files: Mapping[str, bytes] = field(repr=False)


@dataclass(frozen=True, slots=True)
class StagedFiles:
    """A member's restored data on the runner: `root` is a data directory with nothing but `member` in it."""

    root: Path
    restore: Restore
    peer_url: str


class StoreReader(Protocol):
    """etcdplan's own directory on a host, for reading; names are relative paths of plain words and slashes."""

    def read(self, name: str) -> bytes | None:
        """Return a file's content, None when there is none; raise `HostUnreachable`."""
        ...

    def names(self, directory: str) -> tuple[str, ...]:
        """Return the names in a directory, sorted; empty when there is none."""
        ...


@dataclass(frozen=True, slots=True)
class HostReport:
    """What files and processes say. `record` is the raw content of the host's record, `trust` of its CA bundle.

    `leafs` has an entry for every directory of the host's PKI. `started` of processes is unix seconds on the
    controller's clock. `free_bytes` is the space left for data, or None. `boot_id` is new with every boot of a real
    machine. `machine` lacks the figures of etcd (`HostReader.measure_etcd`).
    """

    etcd: Unit
    data: Fact[Data]
    leafs: Mapping[str, Fact[LeafFile]]
    trust: Fact[bytes]
    record: Fact[bytes]
    api_servers: Mapping[str, Unit]
    free_bytes: int | None = None
    boot_id: str = ""
    machine: Machine = UNMEASURED
    program: Fact[str] = ABSENT
    """The path of the program that was asked for, when it is there with the checksum that it came with."""
    staged: Fact[Data] = ABSENT
    """What lies restored beside etcd's data."""
    job: Fact[BackupJob] = ABSENT
    """What takes backups there; of the versions of etcdplan that lie there the one that was asked for, if it is."""
    kept: StoreReader | None = None
    """The host's own directory as it was then, if that was asked for and saves requests to the host."""
    installed: frozenset[str] | None = None
    """The API servers that the host can run, by name; None where that is not known."""
    strays: Mapping[str, Settings] = field(default_factory=dict)
    """API servers that run in no unit that is known, by what runs them (`Host.strays`)."""


@dataclass(frozen=True, slots=True)
class ListedMember:
    """One entry of a member list as a server gave it."""

    id: int
    name: str
    peer_urls: tuple[str, ...]
    client_urls: tuple[str, ...]
    is_learner: bool


@dataclass(frozen=True, slots=True)
class EtcdReport:
    """What one etcd says of itself and of the cluster. `serves`: a voter answered a linearizable read.

    `confirmed` says that the member list was read linearizably; a process without quorum gives its own, maybe old, one.
    `errors` are the server's own words (`etcdserver: no leader`, alarms).
    """

    cluster_id: int
    member_id: int
    version: str
    leader_id: int
    is_learner: bool
    serves: bool
    confirmed: bool
    members: tuple[ListedMember, ...]
    errors: tuple[str, ...] = ()


class HostReader(Protocol):
    """Looks at one host and never changes anything."""

    @property
    def address(self) -> str:
        """The host's address, as the spec or the member list names it."""
        ...

    def inspect(self, *, timeout: float, kept: bool = False) -> HostReport:
        """Return what is on the host; raise `HostUnreachable`. Parts that cannot be read are unknown facts.

        With `kept` what applies have left in the host's own directory may be read along with it.
        """
        ...

    def ask_etcd(self, client_url: str, *, timeout: float) -> EtcdReport | None:
        """Ask the etcd at `client_url` through this host; None when it does not answer in time."""
        ...

    def measure_etcd(self, client_url: str, *, timeout: float) -> Fact[Figures]:
        """Return what the etcd at `client_url` has measured, through this host; unknown when it cannot be read."""
        ...

    def held_by_etcd(self, client_url: str, *, timeout: float) -> str | None:
        """Return a text that is equal for etcds that hold equal keys at equal revisions; None when it does not answer.

        The etcd at `client_url` reads all its keys for that, and holds its writes back meanwhile.
        """
        ...

    def members_behind(self, url: str, *, times: int, timeout: float) -> tuple[int, ...]:
        """Connect to a URL so many times, through this host; return the member ID of each etcd that answered.

        All of it takes at most `timeout` seconds. Raises what a connection to the host raises.
        """
        ...


class HostStore(StoreReader, Protocol):
    """etcdplan's own directory on a host."""

    def write(self, name: str, content: bytes) -> None:
        """Write a file atomically (0600, synced); raise `HostRefused` or `HostUnreachable`."""
        ...

    def append(self, name: str, content: bytes) -> None:
        """Append to a file and sync it."""
        ...

    def replace(self, name: str, seen: bytes | None, content: bytes, *, timeout: float) -> bool:
        """Write a file as `write` does if its content is still `seen` (None: no file); return whether it was.

        Comparing and writing are one, under the host's guard: no effect and no other writer comes between. Raises
        `HostRefused` when the guard is not free within `timeout` seconds.
        """
        ...

    def end_sessions(self, token: int) -> None:
        """End the sessions through which controllers with older tokens could still call etcd, and only these.

        Returns when they have ended: what such a controller sends later reaches nobody. May be repeated.
        """
        ...


@dataclass(frozen=True, slots=True)
class Claim:
    """What an effect must show on the host: the fencing token, and an ID that is used only once."""

    token: int
    effect_id: str


class HostEffects(Protocol):
    """Changes one host, or the cluster through it.

    Every method checks under the host's guard that `claim.token` is the host's newest token (`Fenced` otherwise) and
    that the effect ID was never claimed before. `HostRefused` and the transport's rejections mean that nothing
    happened, `HostOutcomeUnknown` that it may have. All return only when the effect is there (a stopped process is
    gone, a started one exists).
    """

    def write_settings(self, claim: Claim, unit: str, settings: Settings) -> None:
        """Write a unit's settings to its file; for an API server only the `etcd-*` ones are replaced.

        A systemd host first arms the dead-man of a unit that runs: it puts the former file back and restarts the unit
        when `HEARTBEAT_FILE` has not changed for 15 s. One that is armed already stays so, with what it keeps.
        """
        ...

    def disarm(self, claim: Claim, unit: str) -> None:
        """Let a unit's new settings be, armed or not."""
        ...

    def roll_back(self, claim: Claim, unit: str, why: str) -> None:
        """Do at once what an armed dead-man would do; nothing when it is not armed."""
        ...

    def start(self, claim: Claim, unit: str) -> None:
        """Release a held unit and start it with the settings on disk."""
        ...

    def stop(self, claim: Claim, unit: str) -> None:
        """Stop a unit (SIGTERM, after a grace period SIGKILL) and wait until it is gone."""
        ...

    def hold(self, claim: Claim, unit: str) -> None:
        """Stop a unit and keep it from starting."""
        ...

    def note_drained(self, claim: Claim, unit: str, *, drained: bool) -> None:
        """Note that the clients of an API server were routed away from it, or that they no longer are."""
        ...

    def set_data_aside(self, claim: Claim) -> None:
        """Rename etcd's data within its directory, to a name that no etcd reads; delete nothing."""
        ...

    def stage_data(self, claim: Claim, staged: StagedFiles) -> None:
        """Put a restored data directory beside etcd's data, whole or not at all, instead of one that was there."""
        ...

    def adopt_staged(self, claim: Claim) -> None:
        """Rename what is staged to where etcd looks for its data; refused when there is something."""
        ...

    def discard_staged(self, claim: Claim) -> None:
        """Remove what is staged, whole or half."""
        ...

    def restart_running(self, claim: Claim, units: tuple[str, ...]) -> None:
        """Restart those of these services that run; the others, and those that are not there, are left as they are."""
        ...

    def freeze_data(self, claim: Claim, seconds: int) -> tuple[str, ...]:
        """Freeze the file systems of etcd's data and log; return their mount points, the data's first.

        The host thaws them by itself after so many seconds, whatever becomes of everybody else.
        """
        ...

    def thaw_data(self, claim: Claim) -> None:
        """Thaw them; raise `HostRefused` when they have not been frozen until now, or still are."""
        ...

    def make_leaf_key(self, claim: Claim, leaf: str) -> bytes:
        """Make a new private key for a leaf beside the one in use; return a signing request (PEM)."""
        ...

    def install_leaf(self, claim: Claim, leaf: str, certificate_pem: bytes) -> None:
        """Put the new key and this certificate in the place of the old pair, with one rename."""
        ...

    def install_program(self, claim: Claim, program: ProgramFiles) -> None:
        """Put etcd's program and what came with it in place, as a whole, when it is that version."""
        ...

    def install_etcdplan(self, claim: Claim, directory: str, packed: PackedProgram) -> None:
        """Put etcdplan into a directory as a whole, when it runs there."""
        ...

    def write_backup_job(self, claim: Claim, job: BackupJobFiles) -> None:
        """Write the host's job, make its keys where there are none, have its timer wait; drop former versions."""
        ...

    def remove_backup_job(self, claim: Claim) -> None:
        """Remove the timer and what came with it; the keys that the host made stay."""
        ...

    def install_trust(self, claim: Claim, bundle_pem: bytes) -> None:
        """Write the CA bundle."""
        ...

    def write_record(self, claim: Claim, record: bytes) -> None:
        """Write the host's record of its cluster."""
        ...

    def forget_record(self, claim: Claim) -> None:
        """Take the host's record away."""
        ...

    def member_add(self, claim: Claim, client_url: str, peer_url: str) -> None:
        """Add a learner, calling the etcd at `client_url` through this host."""
        ...

    def member_promote(self, claim: Claim, client_url: str, member_id: int) -> None:
        """Promote a learner."""
        ...

    def member_remove(self, claim: Claim, client_url: str, member_id: int) -> None:
        """Remove a member."""
        ...

    def move_leader(self, claim: Claim, client_url: str, member_id: int) -> None:
        """Hand the leadership over; `client_url` must be the leader's."""
        ...

    def clear_corrupt(self, claim: Claim, client_url: str, member_id: int) -> None:
        """Take back the CORRUPT alarm that was raised for a member, 0 for nobody in particular."""
        ...


class ManagedHost(HostReader, Protocol):
    """A host with all three sides."""

    @property
    def store(self) -> HostStore:
        """The host's own directory."""
        ...

    @property
    def effects(self) -> HostEffects:
        """What can be changed."""
        ...


class Hosts(Protocol):
    """Where hosts come from: the transport."""

    def host(self, address: str) -> ManagedHost:
        """Return the host with that address; no connection is made yet, and nothing is raised."""
        ...
