"""Changing a host of this machine, and the cluster through it."""

import contextlib
import errno
import json
import os
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from etcdplan.diff.target import CA_FILE, PKI
from etcdplan.errors import EtcdplanError, OutcomeUnknownError
from etcdplan.hosts import leaf_pairs
from etcdplan.hosts.data_dir import adopt, discard, set_aside, stage
from etcdplan.hosts.files import make_directory, refusal, sync_directory, write_atomically
from etcdplan.hosts.job_files import BackupJobFiles, PackedProgram
from etcdplan.hosts.ports import (
    LOCK_FILE,
    Claim,
    HostOutcomeUnknown,
    HostRefused,
    ProgramFiles,
    StagedFiles,
    taken_over,
)
from etcdplan.hosts.supervisor import SupervisedUnit
from etcdplan.hosts.unit_files import UnitFiles
from etcdplan.model.state import ETCD, Settings, api_server_unit
from etcdplan.transport.etcd import EtcdClient
from etcdplan.transport.etcd_report import EtcdClients
from etcdplan.transport.local_store import LocalStore

RECORD = "record.json"
"""The file of the host's record in its store."""

_EFFECTS = "effects"
_KEPT_EFFECTS = 200
_GUARD_TIMEOUT = 30.0
_RPC_TIMEOUT = 9.0
"""etcd gives a proposal up after 7 s by itself; whoever takes over waits for the guard that a call holds."""


@dataclass(frozen=True, slots=True)
class LocalEffects:
    """Implements `HostEffects`."""

    store: LocalStore
    clients: EtcdClients
    default_data_dir: str

    @property
    def _root(self) -> Path:
        return self.store.root

    @property
    def _pki(self) -> Path:
        return self._root / PKI.lstrip("/")

    def write_settings(self, claim: Claim, unit: str, settings: Settings) -> None:
        """Write a unit's settings to its file."""
        with self._claimed(claim, f"write the settings of {unit}"):
            UnitFiles(self._root, unit).write(settings)
            self._supervised(unit).forget_failure()

    def disarm(self, claim: Claim, unit: str) -> None:
        """Do nothing: a lab has no dead-man."""

    def roll_back(self, claim: Claim, unit: str, why: str) -> None:
        """Do nothing: a lab has no dead-man."""

    def start(self, claim: Claim, unit: str) -> None:
        """Release a held unit and start it with the settings on disk; its ports must be free."""
        with self._claimed(claim, f"start {unit}"):
            files = UnitFiles(self._root, unit)
            try:
                argv, listens = files.argv(), list(files.listens())
            except (FileNotFoundError, ValueError) as error:
                raise HostRefused(
                    f"{unit} on {self.store.address} cannot be started: {error}.",
                    hint=""
                    if files.is_etcd
                    else "etcdplan sets the flags of API servers that are there and installs none: put it there first, "
                    "or leave it out of the spec ('etcdplan lab up --with-apiservers' makes a lab's).",
                ) from error
            supervised = self._supervised(unit)
            if supervised.process() is None:
                self._check_ports(listens)
            supervised.start(argv)

    def stop(self, claim: Claim, unit: str) -> None:
        """Stop a unit and wait until it is gone."""
        with self._claimed(claim, f"stop {unit}"):
            self._supervised(unit).stop()

    def hold(self, claim: Claim, unit: str) -> None:
        """Stop a unit and keep it from starting."""
        with self._claimed(claim, f"hold {unit}"):
            self._supervised(unit).hold()

    def note_drained(self, claim: Claim, unit: str, *, drained: bool) -> None:
        """Note that the clients of an API server were routed away from it, or that they no longer are."""
        name = drained_note(unit)
        with self._claimed(
            claim, f"note that clients are routed {'away from' if drained else 'back to'} {unit}"
        ):
            if drained:
                self.store.write(name, b"")
            else:
                self.store.remove(name)

    def set_data_aside(self, claim: Claim) -> None:
        """Rename etcd's data; refused while etcd runs on it."""
        with self._claimed(claim, "set the data aside"):
            if self._supervised(ETCD).process() is not None:
                raise HostRefused(
                    f"etcd on {self.store.address} still runs on the data.", hint="Stop it first."
                )
            set_aside(*self._data_dirs())

    def stage_data(self, claim: Claim, staged: StagedFiles) -> None:
        """Copy a restored data directory beside etcd's data."""
        with self._claimed(claim, "stage restored data"):
            stage(*self._data_dirs(), staged.root)

    def adopt_staged(self, claim: Claim) -> None:
        """Rename what is staged; refused while etcd runs."""
        with self._claimed(claim, "put the restored data in place"):
            if self._supervised(ETCD).process() is not None:
                raise HostRefused(f"etcd on {self.store.address} still runs.", hint="Stop it first.")
            adopt(*self._data_dirs())

    def discard_staged(self, claim: Claim) -> None:
        """Remove what is staged."""
        with self._claimed(claim, "remove staged data"):
            discard(*self._data_dirs())

    def restart_running(self, claim: Claim, units: tuple[str, ...]) -> None:
        """Do nothing: a lab has no such services."""

    def freeze_data(self, claim: Claim, seconds: int) -> tuple[str, ...]:
        """Refuse: the data of a lab's hosts have no file systems of their own."""
        raise HostRefused(
            f"The data of {self.store.address} lie in a directory of this machine, which is not frozen.",
            hint="Volumes are frozen on hosts with systemd.",
        )

    def thaw_data(self, claim: Claim) -> None:
        """Do nothing: nothing is ever frozen."""

    def _data_dirs(self) -> tuple[Path, Path | None]:
        try:
            return UnitFiles(self._root, ETCD).data_dirs(self.default_data_dir)
        except ValueError as error:
            raise HostRefused(
                f"Where the data of {self.store.address} is cannot be read: {error}."
            ) from error

    def make_leaf_key(self, claim: Claim, leaf: str) -> bytes:
        """Make a new private key for a leaf beside the one in use; return a signing request (PEM)."""
        with self._claimed(claim, f"make a key for {leaf}"):
            return leaf_pairs.make_key(self._pki, leaf)

    def install_leaf(self, claim: Claim, leaf: str, certificate_pem: bytes) -> None:
        """Put the new key and this certificate in the place of the old pair."""
        with self._claimed(claim, f"install the certificate {leaf}"):
            leaf_pairs.install(self._pki, leaf, certificate_pem)
            self._supervised(ETCD).forget_failure()

    def install_program(self, claim: Claim, program: ProgramFiles) -> None:
        """Refuse: a lab's hosts have their programs from the lab."""
        with self._claimed(claim, f"install etcd {program.version}"):
            raise HostRefused(
                f"{self.store.address} is a lab's host and has its etcd from the lab.",
                hint="Leave etcd.source out; 'etcdplan lab up --etcd-dir' says which programs a lab runs.",
            )

    def install_etcdplan(self, claim: Claim, directory: str, packed: PackedProgram) -> None:
        """Refuse: a lab has no timers."""
        self._refuse_job(claim)

    def write_backup_job(self, claim: Claim, job: BackupJobFiles) -> None:
        """Refuse, too."""
        self._refuse_job(claim)

    def remove_backup_job(self, claim: Claim) -> None:
        """Refuse, too."""
        self._refuse_job(claim)

    def _refuse_job(self, claim: Claim) -> None:
        with self._claimed(claim, "change what takes backups"):
            raise HostRefused(f"{self.store.address} is a lab's host: it has no timers for backups.")

    def install_trust(self, claim: Claim, bundle_pem: bytes) -> None:
        """Write the CA bundle."""
        with self._claimed(claim, "install the CA bundle"):
            write_atomically(self._root / CA_FILE.lstrip("/"), bundle_pem)
            self._supervised(ETCD).forget_failure()

    def write_record(self, claim: Claim, record: bytes) -> None:
        """Write the host's record of its cluster."""
        with self._claimed(claim, "write the record"):
            self.store.write(RECORD, record)

    def forget_record(self, claim: Claim) -> None:
        """Take the host's record away."""
        with self._claimed(claim, "forget the record"):
            self.store.remove(RECORD)

    def member_add(self, claim: Claim, client_url: str, peer_url: str) -> None:
        """Add a learner."""
        with self._calling(claim, client_url, f"add {peer_url}") as client:
            client.member_add(peer_url, learner=True, timeout=_RPC_TIMEOUT)

    def member_promote(self, claim: Claim, client_url: str, member_id: int) -> None:
        """Promote a learner."""
        with self._calling(claim, client_url, f"promote {member_id:x}") as client:
            client.member_promote(member_id, timeout=_RPC_TIMEOUT)

    def member_remove(self, claim: Claim, client_url: str, member_id: int) -> None:
        """Remove a member."""
        with self._calling(claim, client_url, f"remove {member_id:x}") as client:
            client.member_remove(member_id, timeout=_RPC_TIMEOUT)

    def clear_corrupt(self, claim: Claim, client_url: str, member_id: int) -> None:
        """Take back a CORRUPT alarm."""
        with self._calling(
            claim, client_url, f"take back the CORRUPT alarm for member {member_id:x}"
        ) as client:
            client.clear_corrupt(member_id, timeout=_RPC_TIMEOUT)

    def move_leader(self, claim: Claim, client_url: str, member_id: int) -> None:
        """Hand the leadership over."""
        with self._calling(claim, client_url, f"make {member_id:x} the leader") as client:
            client.move_leader(member_id, timeout=_RPC_TIMEOUT)

    @contextlib.contextmanager
    def _calling(self, claim: Claim, client_url: str, what: str) -> Iterator[EtcdClient]:
        # The guard is held during the call: a controller that takes over waits until it has ended.
        with self._claimed(claim, f"{what} at {client_url}"):
            yield self.clients.at(client_url)

    @contextlib.contextmanager
    def _claimed(self, claim: Claim, what: str) -> Iterator[None]:
        """Run an effect under the guard, once, if `claim` shows the host's newest token; note how it went."""
        with self.store.exclusive(timeout=_GUARD_TIMEOUT):
            self._check_token(claim)
            with self.store.writing():
                note = self._claim(claim, what)
            try:
                yield
            except OutcomeUnknownError as error:
                self._note(note, f"unknown: {error.message}")
                raise
            except EtcdplanError as error:
                self._note(note, f"refused: {error.message}")
                raise
            except OSError as error:
                if not self._root.is_dir():
                    raise HostOutcomeUnknown(
                        f"Host {self.store.address} vanished: whether it did this is unknown: {what}."
                    ) from error
                refused = refusal(self.store.address, error)
                self._note(note, f"refused: {refused.message}")
                raise refused from error
            self._note(note, "done")
            self._prune(note.parent)

    def _check_token(self, claim: Claim) -> None:
        content = self.store.read(LOCK_FILE)
        try:
            token = None if content is None else json.loads(content)["token"]
        except (ValueError, TypeError, KeyError):
            token = None
        if token is None or token != claim.token:
            raise taken_over(self.store.address, self.store.directory, token, claim.token)

    def _claim(self, claim: Claim, what: str) -> Path:
        note = self.store.directory / _EFFECTS / quote(claim.effect_id, safe="")
        make_directory(note.parent)
        try:
            descriptor = os.open(note, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            raise HostRefused(
                f"Effect {claim.effect_id} was already claimed on host {self.store.address}.",
                hint="Plan again: what it has done is looked at first.",
            ) from None
        with os.fdopen(descriptor, "w") as file:
            file.write(json.dumps({"effect": what, "token": claim.token}) + "\n")
            file.flush()
            os.fsync(descriptor)
        sync_directory(note.parent)
        return note

    def _note(self, note: Path, result: str) -> None:
        # What happened has happened, whether or not it can be written down.
        with contextlib.suppress(OSError), note.open("a") as file:
            file.write(json.dumps({"result": result}) + "\n")

    def _prune(self, directory: Path) -> None:
        with contextlib.suppress(OSError):
            notes = sorted(directory.iterdir(), key=lambda note: note.stat().st_mtime_ns)
            for note in notes[:-_KEPT_EFFECTS]:
                note.unlink()

    def _supervised(self, unit: str) -> SupervisedUnit:
        return SupervisedUnit(self._root, UnitFiles(self._root, unit).name)

    def _check_ports(self, listens: Iterable[tuple[str, int]]) -> None:
        for host, port in listens:
            try:
                _try_to_bind(host, port)
            except OSError as error:
                reason = {
                    errno.EADDRINUSE: "is taken by another process",
                    errno.EADDRNOTAVAIL: "is no address of this machine",
                    errno.EACCES: "may not be used by this user",
                }.get(error.errno or 0, f"cannot be used ({error.strerror})")
                raise HostRefused(
                    f"Port {port} on {host} {reason}.",
                    hint=f"`ss -ltnp sport = :{port}` names the process; stop it, or use another port or host.",
                ) from error


def drained_note(unit: str) -> str:
    """Return the file that says that an API server's clients were routed away."""
    return f"drained/{unit.removeprefix(api_server_unit(''))}"


def _try_to_bind(host: str, port: int) -> None:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        # As Go does it: connections that are closing keep nobody from listening.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)
