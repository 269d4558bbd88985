"""Taking a backup of a cluster that is reached: from a member that serves, or from what is left of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from etcdplan.cli import backup
from etcdplan.cli.cluster import Cluster, LiveCluster
from etcdplan.cli.output import progress, progress_bar
from etcdplan.errors import EtcdplanError, RefusedError, SpecError

if TYPE_CHECKING:
    from etcdplan.backup.include import Parcel
    from etcdplan.backup.signing import Signer
    from etcdplan.backup.survivors import Survivors
    from etcdplan.backup.take import Proof, Source, Taken
    from etcdplan.diff.view import View
    from etcdplan.hosts.data_copy import DataOnHost
    from etcdplan.model.state import State

_GATHER = 20.0
"""Seconds that a host may take to give its files."""


@dataclass(frozen=True)
class Taking:
    """How backups are taken here: who signs, who can open them, where etcd's programs and the scratch space are."""

    signer: "Signer"
    identities: Sequence[Path]
    etcd_dir: Path | None
    scratch: Path | None
    verify: str = ""
    """How far to prove it, when not as the policy asks."""

    @classmethod
    def of(
        cls,
        cluster: Cluster,
        identities: Sequence[Path],
        etcd_dir: Path | None,
        scratch: Path | None,
        *,
        verify: str = "",
    ) -> "Taking":
        """Read the signing key; raise `SpecError` when what it signs would not count."""
        from etcdplan.backup.signing import Signer
        from etcdplan.cli.keys import beside

        encryption = backup.policy_of(cluster.loaded).encryption
        signer = Signer(beside(cluster.loaded, encryption.signing_key), identities=identities)
        trusted = {key.fingerprint for key in backup.trusted_keys(cluster.loaded)}
        if signer.public.fingerprint not in trusted:
            raise SpecError(
                "Backups that the signing key signs would not count.",
                hint="Add its public key to spec.backup.encryption.trustedKeys.",
            )
        return cls(signer, identities, etcd_dir, scratch, verify)

    def prepare(self, cluster: Cluster) -> None:
        """Raise `EtcdplanError` when the proof of a backup needs what is not here."""
        self._proof(cluster, cluster.target.version)

    def from_member(self, reached: LiveCluster, state: "State") -> "Taken":
        """Take a backup from a member that serves; raise `RefusedError` when none does."""
        from etcdplan.backup.source import choose_member
        from etcdplan.backup.take import Source
        from etcdplan.model.state import host_of

        member = choose_member(state)
        url = member.client_urls[0]
        version = member.version or reached.target.version
        progress(f"Taking a snapshot from {member.name}.")
        source = Source(reached.target.cluster, member.name, reached.etcd(host_of(url), url))
        return self._take(reached, source, self._proof(reached, version), state.now)

    def from_survivor(
        self, reached: LiveCluster, state: "State", survivors: "Survivors", name: str | None = None
    ) -> "Taken":
        """Take a backup of a cluster without quorum: from the named survivor, or the one that knows of the most."""
        from etcdplan.backup.manifest import Origin
        from etcdplan.backup.take import Source

        best = survivors.best(name)
        last = survivors.uncertain(best)
        if not best.url:
            return self.from_data(reached, state, best.host, last=last)
        etcd = reached.etcd(best.host, best.url)
        origin = Origin(kind="survivor", index=best.end.commit, last=last)
        progress(f"Taking a snapshot from {best.name}, which answers without quorum.")
        source = Source(reached.target.cluster, best.name, etcd, origin)
        return self._take(reached, source, self._proof(reached, reached.target.version), state.now)

    def from_data(self, reached: LiveCluster, state: "State", member: str, *, last: int = 0) -> "Taken":
        """Take a backup from what a stopped member left, or an etcd on a host; nothing is written there.

        Others have entries up to `last`.
        """
        from etcdplan.backup.survivors import named_host
        from etcdplan.diff.view import View

        host, name = named_host(View(reached.target, state), member)
        seen = state.host(host)
        held = seen.data.get()
        if seen.etcd.process.get() is not None:
            raise RefusedError(
                f"etcd of {name} on {host} runs, so its data cannot be copied.",
                hint="A member that serves gives a snapshot itself. Stop one that does not.",
            )
        if held is None or held.foreign:
            raise RefusedError(
                f"There are no data of an etcd on {host}" + (f", but {held.foreign}." if held else "."),
                hint="Name another member.",
            )
        progress(f"Copying what etcd of {name} left on {host}.")
        return self._from_copy(reached, state, reached.data(host), held.cluster_id, name, last=last)

    def from_volume(self, reached: LiveCluster, state: "State", directory: Path, log: Path | None) -> "Taken":
        """Take a backup from a data directory on this machine, which is only read; `log` is a log that is elsewhere.

        Raises `RefusedError` when there are no data of an etcd, `HostRefused` when one runs on them.
        """
        from etcdplan.hosts.data_copy import LocalData, unreadable
        from etcdplan.hosts.data_dir import read_data

        here = f"localhost:{directory}"
        try:
            held = read_data(directory, log)
        except OSError as error:
            raise unreadable(here, error.strerror or str(error)) from error
        if held is None or held.foreign:
            raise RefusedError(
                f"There are no data of an etcd in {directory}" + (f", but {held.foreign}." if held else "."),
                hint="Name etcd's data directory: 'member' is in it.",
            )
        listed = state.membership.value or state.last_seen
        names = {one.id: one.name for one in (listed.members.values() if listed else ())}
        name = names.get(held.member_id) or f"{held.member_id:x}"
        progress(f"Copying what {name} of cluster {held.cluster_id:x} had in {directory}.")
        data = LocalData(here, directory, log)
        return self._from_copy(reached, state, data, held.cluster_id, name)

    def _from_copy(
        self,
        reached: LiveCluster,
        state: "State",
        data: "DataOnHost",
        cluster_id: int,
        name: str,
        *,
        last: int = 0,
    ) -> "Taken":
        from etcdplan.backup.cold import opened_copy
        from etcdplan.backup.manifest import Origin
        from etcdplan.backup.take import Source

        proof = self._proof(reached, reached.target.version)
        tools = backup.tools_for(reached.target.version, self.etcd_dir)
        with opened_copy(data, tools, name, scratch=self.scratch, passed=progress_bar()) as copy:
            kind = "data" if copy.whole else "database"
            end = copy.end
            origin = Origin(kind=kind, index=end.commit, last=max(last, end.last, end.commit))
            progress(f"Taking a snapshot from a copy of {name}'s data.")
            source = Source(reached.target.cluster, name, copy.etcd, origin, cluster_id)
            return self._take(reached, source, proof, state.now)

    def _proof(self, reached: Cluster, version: str) -> "Proof":
        policy = backup.policy_of(reached.loaded)
        if self.verify:
            policy = policy.model_copy(update={"verify": self.verify})
        return backup.proof_for(policy, version, self.etcd_dir, self.scratch, self.identities)

    def _take(self, reached: LiveCluster, source: "Source", proof: "Proof", now: int) -> "Taken":
        from etcdplan.backup.take import take_backup

        taken = take_backup(
            source,
            backup.destinations_of(reached.loaded),
            backup.policy_of(reached.loaded).encryption.recipients,
            self.signer,
            proof,
            now=now,
            parcel=gathered(reached),
            passed=progress_bar(),
        )
        for failure in taken.failures:
            progress(f"Not there: {failure.message}")
        return taken


def gathered(reached: LiveCluster) -> "Parcel | None":
    """Return the files of hosts that go with a backup; None when there are none, or none are wanted.

    What is left out is said here, and in the signed manifest.
    """
    from etcdplan.backup.include import pack
    from etcdplan.hosts.remote.gather import Gathered

    if not backup.policy_of(reached.loaded).include:
        return None
    spec = reached.loaded.spec.spec
    serving = {one.host for one in spec.api_servers.instances}
    hosts = sorted(serving | {one.host for one in spec.members})

    def ask(host: str) -> Gathered | str:
        try:
            found: Gathered = reached.gather(host, timeout=_GATHER)
        except EtcdplanError as error:
            return error.message
        if host in serving and not found.files:
            return "it has none of Kubernetes' files where they are looked for"
        return found

    parcel = pack(dict(zip(hosts, reached.each(ask, hosts), strict=True)))
    if not parcel.files and not parcel.left_out:
        return None
    for one in parcel.left_out:
        progress(f"Not in the backup: {one.path or 'files'} of {one.host}: {one.why}")
    return parcel


def check_quorum_is_lost(view: "View") -> None:
    """Raise `RefusedError` for a cluster that has quorum."""
    if view.state.membership.value is not None and view.quorum.holds:
        raise RefusedError(
            f"Cluster {view.target.cluster} has quorum.",
            hint="etcdplan plan SPEC says what is wrong with it.",
        )


def survivors_of(reached: LiveCluster, state: "State") -> "Survivors":
    """Return who is left of a cluster that has lost its quorum; raise `RefusedError` when it has not."""
    from etcdplan.backup.survivors import find_survivors
    from etcdplan.diff.view import View

    view = View(reached.target, state)
    check_quorum_is_lost(view)
    if len(state.clusters) > 1:
        raise RefusedError(
            "Members of more than one cluster answer, so it is not known whose data is wanted.",
            hint="etcdplan status SPEC shows them.",
        )
    found = find_survivors(view, reached.data, reached.etcd)
    for line in found.lines():
        progress(line)
    return found
