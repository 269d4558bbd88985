"""From an effect of the model to the calls of ports that make it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from etcdplan.backup.source import choose_member
from etcdplan.errors import EtcdplanError, StoppedError
from etcdplan.hosts.job_files import BackupJobFiles, PackedProgram
from etcdplan.hosts.ports import Claim, HostEffects, Hosts, ProgramFiles, StagedFiles
from etcdplan.model.backup_effects import InstallEtcdplan, RemoveBackupJob, TakeBackup, WriteBackupJob
from etcdplan.model.effects import (
    AddLearner,
    ClearCorrupt,
    Effect,
    ForgetRecord,
    Hold,
    InstallProgram,
    InstallTrust,
    IssueLeaf,
    MoveLeader,
    Promote,
    Remove,
    RouteClients,
    SetDataAside,
    Start,
    Stop,
    WriteRecord,
    WriteSettings,
)
from etcdplan.model.restore import Restore
from etcdplan.model.restore_effects import (
    AdoptStaged,
    DiscardStaged,
    RestartComponents,
    StageData,
    VerifyRestored,
)
from etcdplan.model.state import Member, Membership, Record, State, api_server_unit, host_of

Hook = Callable[[str, str, str], None]
"""Runs a hook of the runner, given its name, an API server's name, and `drain` or `undrain`; both may be repeated.

Raises `StoppedError` when it fails.
"""


class Signer(Protocol):
    """Signs what hosts ask for; it holds the CA's key, and nothing else does."""

    @property
    def bundle_pem(self) -> bytes:
        """The CA certificate."""
        ...

    def sign(self, request_pem: bytes, leaf: IssueLeaf) -> bytes:
        """Return the certificate (PEM) for a signing request, with the names and usages of `leaf`."""
        ...


class RestoreSource(Protocol):
    """Where snapshots come from, and what their members are compared with. Both raise `StoppedError`."""

    def member(self, restore: Restore, peer_url: str) -> AbstractContextManager[Path]:
        """Give a data directory into which the snapshot was restored as that member; it is removed afterwards."""
        ...

    def compare(self, restore: Restore, state: State) -> None:
        """Return when all members hold the same keys, and those of the snapshot."""
        ...


class TakesBackups(Protocol):
    """Takes a backup as the spec's policy says, with the keys and programs of the runner."""

    def take(self, state: State, verify: str) -> None:
        """Take one from a member that serves, proven so far, and return when it counts; raise `StoppedError`."""
        ...


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a host's effect port, not made yet."""

    host: str
    kind: str
    subject: str
    make: Callable[[HostEffects, Claim], None]


@dataclass(frozen=True, slots=True)
class Caller:
    """Turns effects into calls. `encode` writes a record down, with all hosts that it should name.

    `programs` returns the files of the spec's archive, or raises an `EtcdplanError`. `backups` is for restores, `taker`
    for new backups, and `packed` gives this very program with some extras.
    """

    hosts: Hosts
    signer: Signer | None
    encode: Callable[[Record], bytes]
    hook: Hook | None = None
    programs: Callable[[], Mapping[str, bytes]] | None = None
    backups: RestoreSource | None = None
    taker: TakesBackups | None = None
    packed: Callable[[tuple[str, ...]], PackedProgram] | None = None

    def calls(self, effect: Effect, state: State) -> Iterator[Call]:
        """Yield the calls that make the effect; each is made before the next is asked for.

        `state` is observed, so that its member IDs are the cluster's own.
        """
        match effect:
            case WriteSettings(host, unit, settings):
                yield Call(
                    host,
                    "write-settings",
                    unit,
                    lambda port, claim: port.write_settings(claim, unit, settings),
                )
            case Start(host, unit):
                yield Call(host, "start", unit, lambda port, claim: port.start(claim, unit))
            case Stop(host, unit):
                yield Call(host, "stop", unit, lambda port, claim: port.stop(claim, unit))
            case Hold(host, unit):
                yield Call(host, "hold", unit, lambda port, claim: port.hold(claim, unit))
            case RouteClients(host, unit, hook, away):
                yield Call(
                    host,
                    "route-clients",
                    unit,
                    lambda port, claim: self._route(port, claim, unit, hook, away=away),
                )
            case SetDataAside(host):
                yield Call(host, "set-data-aside", "etcd", lambda port, claim: port.set_data_aside(claim))
            case StageData(host, restore, url):
                source = self._backups()
                yield Call(
                    host, "stage-data", url, lambda port, claim: _stage(port, claim, source, restore, url)
                )
            case AdoptStaged(host):
                yield Call(host, "adopt-staged", "etcd", lambda port, claim: port.adopt_staged(claim))
            case DiscardStaged(host):
                yield Call(host, "discard-staged", "etcd", lambda port, claim: port.discard_staged(claim))
            case RestartComponents(host, units, record):
                done = self.encode(record)
                yield Call(
                    host, "restart-units", host, lambda port, claim: port.restart_running(claim, units)
                )
                yield Call(host, "write-record", "record", lambda port, claim: port.write_record(claim, done))
            case VerifyRestored(host, record):
                noted = self.encode(record)
                if record.restore is not None:
                    self._backups().compare(record.restore, state)
                yield Call(
                    host, "write-record", "record", lambda port, claim: port.write_record(claim, noted)
                )
            case TakeBackup(verified=verify):
                member, taker = choose_member(state), self._taker()
                where = host_of(member.peer_url)
                yield Call(where, "take-backup", member.name, lambda _port, _claim: taker.take(state, verify))
            case InstallProgram(host, version, path):
                program = ProgramFiles(path, version, self._programs())
                yield Call(
                    host, "install-program", path, lambda port, claim: port.install_program(claim, program)
                )
            case InstallEtcdplan(host, path, extras):
                itself = self._packed(extras)
                yield Call(
                    host,
                    "install-etcdplan",
                    path,
                    lambda port, claim: port.install_etcdplan(claim, path, itself),
                )
            case WriteBackupJob(host, path, files, directories):
                job = BackupJobFiles(path, files, directories)
                yield Call(
                    host, "write-backup-job", host, lambda port, claim: port.write_backup_job(claim, job)
                )
            case RemoveBackupJob(host):
                yield Call(host, "remove-backup-job", host, lambda port, claim: port.remove_backup_job(claim))
            case InstallTrust(host):
                bundle = self._signer().bundle_pem
                yield Call(host, "install-trust", "ca", lambda port, claim: port.install_trust(claim, bundle))
            case IssueLeaf():
                yield from self._issue(effect)
            case WriteRecord(host, record):
                content = self.encode(record)
                yield Call(
                    host, "write-record", "record", lambda port, claim: port.write_record(claim, content)
                )
            case ForgetRecord(host):
                yield Call(host, "forget-record", "record", lambda port, claim: port.forget_record(claim))
            case ClearCorrupt(number):
                yield _clear_call(number, state)
            case AddLearner() | Promote() | Remove() | MoveLeader():
                yield _member_call(effect, state)
            case _:
                raise NotImplementedError(type(effect).__name__)

    def _route(self, port: HostEffects, claim: Claim, unit: str, hook: str, *, away: bool) -> None:
        """The hook first: a run that dies before the note is there runs it again."""
        if self.hook is None:
            raise StoppedError(f"The hook {hook} is not defined here.", hint="Define it, then resume.")
        self.hook(hook, unit.removeprefix(api_server_unit("")), "drain" if away else "undrain")
        port.note_drained(claim, unit, drained=away)

    def _signer(self) -> Signer:
        if self.signer is None:
            raise StoppedError(
                "Certificates are needed and no CA is at hand.", hint="Set tls.ca in the spec."
            )
        return self.signer

    def _programs(self) -> Mapping[str, bytes]:
        if self.programs is None:
            raise StoppedError("etcd's program is needed and no archive is at hand.", hint="Set etcd.source.")
        with _stopping():
            return self.programs()

    def _packed(self, extras: tuple[str, ...]) -> PackedProgram:
        if self.packed is None:
            raise StoppedError("etcdplan cannot be packed here.")
        with _stopping():
            return self.packed(extras)

    def _backups(self) -> RestoreSource:
        if self.backups is None:
            raise StoppedError("A snapshot is needed and no backup is at hand.", hint="Set spec.backup.")
        return self.backups

    def _taker(self) -> TakesBackups:
        if self.taker is None:
            raise StoppedError("A backup is needed and none can be taken here.", hint="Set spec.backup.")
        return self.taker

    def _issue(self, leaf: IssueLeaf) -> Iterator[Call]:
        requests: list[bytes] = []
        yield Call(
            leaf.host,
            "make-leaf-key",
            leaf.name,
            lambda port, claim: requests.append(port.make_leaf_key(claim, leaf.name)),
        )
        certificate = self._signer().sign(requests[0], leaf)
        yield Call(
            leaf.host,
            "install-leaf",
            leaf.name,
            lambda port, claim: port.install_leaf(claim, leaf.name, certificate),
        )


@contextmanager
def _stopping() -> Iterator[None]:
    """Stop the run with what something on this machine fails with."""
    try:
        yield
    except EtcdplanError as error:
        raise StoppedError(error.message, hint=error.hint) from error


def _stage(port: HostEffects, claim: Claim, source: RestoreSource, restore: Restore, url: str) -> None:
    with source.member(restore, url) as root:
        port.stage_data(claim, StagedFiles(root, restore, url))


def _member_call(effect: AddLearner | Promote | Remove | MoveLeader, state: State) -> Call:
    url = effect.peer_url
    membership, client, host = _where_to_call(state, avoid=url if isinstance(effect, Remove) else "")
    if isinstance(effect, AddLearner):
        return Call(host, "member-add", url, lambda port, claim: port.member_add(claim, client, url))
    number = membership.members[url].id
    match effect:
        case Promote():
            return Call(
                host, "member-promote", url, lambda port, claim: port.member_promote(claim, client, number)
            )
        case Remove():
            return Call(
                host, "member-remove", url, lambda port, claim: port.member_remove(claim, client, number)
            )
        case MoveLeader():
            # Only the leader can; when its host does not answer, its client URL is called through another one.
            leader = membership.members.get(state.leader or "")
            client = leader.client_urls[0] if leader is not None and leader.client_urls else client
            return Call(host, "move-leader", url, lambda port, claim: port.move_leader(claim, client, number))


def _clear_call(number: int, state: State) -> Call:
    _, client, host = _where_to_call(state, avoid="")
    return Call(
        host, "clear-corrupt", f"{number:x}", lambda port, claim: port.clear_corrupt(claim, client, number)
    )


def _where_to_call(state: State, *, avoid: str) -> tuple[Membership, str, str]:
    """Return the members, and the client URL and the host of the voter to call."""
    membership = state.membership.get()
    if membership is None:
        raise StoppedError("There is no cluster to call.", hint="Plan again.")
    via = _voter(membership, state.leader, avoid=avoid)
    return membership, via.client_urls[0], host_of(via.peer_url)


def _voter(membership: Membership, leader: str | None, *, avoid: str) -> Member:
    """Return the voter to call: the leader, which knows its peers best, else any that serves."""
    serving = [voter for voter in membership.voters() if voter.serving and voter.client_urls]
    serving.sort(key=lambda voter: (voter.peer_url == avoid, voter.peer_url != leader, voter.peer_url))
    if not serving:
        raise StoppedError("No voter answers that could be called.", hint="Plan again.")
    return serving[0]
