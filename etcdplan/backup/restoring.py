"""A snapshot becomes members' data directories on this machine, and members are compared with it afterwards.

It is restored here and not on the hosts, so that these need no tool of etcd's, and never see a snapshot: only what they
are to run on.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from etcdplan.backup.destination import Destination
from etcdplan.backup.differences import Differences, compare_keys
from etcdplan.backup.errors import BackupError
from etcdplan.backup.etcd_tools import EtcdTools, restore_snapshot
from etcdplan.backup.fetch import fetch_any
from etcdplan.backup.isolated import PEER, isolated_etcd
from etcdplan.backup.manifest import Manifest
from etcdplan.errors import EtcdplanError, StoppedError
from etcdplan.model.restore import Restore
from etcdplan.model.state import State, host_of
from etcdplan.transport.errors import EtcdRejected, EtcdUnreachable
from etcdplan.transport.etcd import EtcdClient

_CALL = 120.0
_LOOK = (
    "Nothing was opened to clients. Look at the members' logs, then go on with: etcdplan apply --resume SPEC."
)

Copies = Callable[[str], Sequence[tuple[Destination, Manifest]]]
"""Gives the copies of a backup that count, by its name."""


@dataclass
class SnapshotSource:
    """Implements `apply.calls.RestoreSource`. While it is open the snapshot lies decrypted in a directory of its own.

    `tools` finds programs for a version; `etcd` gives a connection to the etcd at a client URL through a host.
    """

    copies: Copies
    tools: Callable[[str], EtcdTools]
    identities: Sequence[Path]
    etcd: Callable[[str, str], EtcdClient]
    scratch: Path | None = None
    _directory: "tempfile.TemporaryDirectory[str] | None" = None
    _fetched: tuple[Path, Manifest] | None = None

    def close(self) -> None:
        """Remove what was decrypted."""
        if self._directory is not None:
            self._directory.cleanup()

    @contextmanager
    def member(self, restore: Restore, peer_url: str) -> Iterator[Path]:
        """Give a data directory into which the snapshot was restored as that member; it is removed afterwards."""
        try:
            snapshot, manifest = self._snapshot(restore)
            tools = self.tools(manifest.etcd_version)
            with tempfile.TemporaryDirectory(prefix="member-", dir=snapshot.parent) as directory:
                data = Path(directory, "data")
                restore_snapshot(
                    tools,
                    snapshot,
                    data,
                    name=dict(restore.members)[peer_url],
                    peer_url=peer_url,
                    initial_cluster=restore.initial_settings["initial-cluster"],
                    token=restore.token,
                    bump=restore.bump,
                )
                yield data
        except BackupError as error:
            raise StoppedError(error.message, hint=error.hint) from error

    def differences(self, restore: Restore, live: EtcdClient, prefix: bytes) -> Differences:
        """Compare what an etcd has below a prefix with the snapshot, served by an etcd that nobody else reaches.

        Raises `BackupError`, and what reading an etcd raises.
        """
        try:
            snapshot, manifest = self._snapshot(restore)
            tools = self.tools(manifest.etcd_version)
            with tempfile.TemporaryDirectory(prefix="compared-", dir=snapshot.parent) as directory:
                data, alone = Path(directory, "data"), f"compared={PEER}"
                restore_snapshot(
                    tools,
                    snapshot,
                    data,
                    name="compared",
                    peer_url=PEER,
                    initial_cluster=alone,
                    token=restore.token,
                )
                with isolated_etcd(
                    tools, data, Path(directory), name="compared", token=restore.token
                ) as then:
                    mine, theirs = (client.keys(prefix, timeout=_CALL) for client in (live, then))
                    return compare_keys(mine, theirs, prefix)
        except StoppedError as error:
            raise BackupError(error.message, hint=error.hint) from error

    def compare(self, restore: Restore, state: State) -> None:
        """Return when all members hold the same keys, and those of the snapshot."""
        membership = state.membership.get()
        members = membership.members.values() if membership else ()
        trial = self._manifest(restore).trial
        try:
            clients = {one.name: self.etcd(host_of(one.peer_url), one.client_urls[0]) for one in members}
            revision = max(client.linearizable_read(timeout=_CALL) for client in clients.values())
            # One member at a time: hashing takes a whole processor there.
            hashes = {name: client.hash_kv(revision, timeout=_CALL) for name, client in clients.items()}
            # As they came: leases run again, and what expires (API servers' own keys do within seconds) is no loss.
            came = min(revision, trial.revision + restore.bump) if trial is not None else 0
            keys = {name: client.count(came, timeout=_CALL) for name, client in clients.items()}
        except (EtcdUnreachable, EtcdRejected) as error:
            raise StoppedError(f"A restored member could not be read: {error.message}", hint=_LOOK) from error
        first = next(iter(hashes.values()), None)
        for name, hashed in hashes.items():
            if hashed != first:
                raise StoppedError(
                    f"The restored members differ: HashKV of {name} at revision {revision} is {hashed.value}, "
                    f"another's is {first.value if first else None}.",
                    hint=_LOOK,
                )
        if revision < restore.revision + restore.bump:
            raise StoppedError(
                f"The restored members are at revision {revision}, and {restore.revision + restore.bump} is expected.",
                hint=_LOOK,
            )
        for name, count in keys.items():
            if trial is not None and count != trial.keys:
                raise StoppedError(
                    f"Restored {name} has {count} keys; the snapshot had {trial.keys} when it was tried.",
                    hint=_LOOK,
                )

    def _manifest(self, restore: Restore) -> Manifest:
        return self._fetched[1] if self._fetched is not None else self._found(restore)[0][1]

    def _found(self, restore: Restore) -> Sequence[tuple[Destination, Manifest]]:
        try:
            found = [
                (place, one) for place, one in self.copies(restore.snapshot) if one.sha256 == restore.sha256
            ]
        except EtcdplanError as error:
            raise StoppedError(error.message, hint=error.hint) from error
        if not found:
            raise StoppedError(
                f"No destination has {restore.snapshot} any more, with the content that is being restored.",
                hint="etcdplan backup list SPEC says what is there, and why something does not count.",
            )
        return found

    def _snapshot(self, restore: Restore) -> tuple[Path, Manifest]:
        """Return the decrypted snapshot, fetched once: a session restores no other."""
        if self._fetched is None:
            copies = self._found(restore)
            if self._directory is None:
                self._directory = tempfile.TemporaryDirectory(prefix="etcdplan-", dir=self.scratch)
            path = Path(self._directory.name, "snapshot.db")
            self._fetched = path, fetch_any(copies, self.identities, path)
        return self._fetched
