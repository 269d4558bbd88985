"""A spec, and the real cluster that it is about: where the real transports are wired in."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from etcdplan.apply.clock import Clock
from etcdplan.apply.holder import Holder
from etcdplan.cli.keys import CaSigner, operator_credentials
from etcdplan.diff.target import Target, build_target
from etcdplan.hosts.each import Each
from etcdplan.hosts.ports import Hosts, LeafFile, StoreReader
from etcdplan.model.state import Leaf, State
from etcdplan.observe.collect import PATIENCE, Credentials, observe
from etcdplan.planner.checks import Finding
from etcdplan.spec.load import LoadedSpec, load_materials, load_spec, spec_digest

if TYPE_CHECKING:
    from etcdplan.apply.pending import Pending
    from etcdplan.backup.seen import Watch
    from etcdplan.hosts.data_copy import DataOnHost
    from etcdplan.hosts.etcd_archive import EtcdArchive
    from etcdplan.hosts.remote.gather import Gathered
    from etcdplan.transport.etcd import Credentials as EtcdCredentials
    from etcdplan.transport.etcd import EtcdClient
    from etcdplan.transport.local import LocalHosts
    from etcdplan.transport.remote_hosts import RemoteHosts

PARALLEL = 16
"""Hosts that are looked at together."""


@dataclass(frozen=True)
class Cluster:
    """A loaded spec with its target; `ca_pem` is empty without TLS."""

    loaded: LoadedSpec
    target: Target
    ca_pem: bytes

    @property
    def digest(self) -> str:
        """Return the digest of the normalised spec."""
        return spec_digest(self.loaded.spec)

    def advice(self) -> tuple[Finding, ...]:
        """Return what is unwise in the spec, as a plan shows it."""
        from etcdplan.spec.lint import lint

        return tuple(
            Finding(one.code, one.severity, one.address, one.what, one.remedy) for one in lint(self.loaded)
        )

    def reader(self) -> Credentials:
        """Return how certificates on hosts are read against this cluster's CA."""
        from etcdplan.pki.leaf import describe, trust_spkis, verifies

        def leaf(file: LeafFile) -> Leaf:
            facts = describe(file.certificate_pem)
            usages = [name for name, has in (("client", facts.client), ("server", facts.server)) if has]
            ours = bool(self.ca_pem) and verifies(file.certificate_pem, self.ca_pem)
            return Leaf(
                issuer=self.target.ca if ours else "",
                sans=tuple(sorted((*facts.dns_names, *facts.ip_addresses))),
                usages=tuple(usages),
                key_matches=file.key_matches,
                not_after=facts.not_after,
                not_before=facts.not_before,
            )

        return Credentials(leaf=leaf, authorities=trust_spkis)

    @cached_property
    def archive(self) -> "EtcdArchive | None":
        """Return the archive that etcd comes from, unread; None when the hosts have etcd already."""
        from etcdplan.hosts.etcd_archive import EtcdArchive

        source = self.loaded.spec.spec.etcd.source
        return (
            None if source is None else EtcdArchive(self.loaded.path.parent / source.archive, source.sha256)
        )

    def signer(self, identities: Sequence[Path]) -> CaSigner | None:
        """Return the signer with the spec's CA; None without TLS."""
        return CaSigner(self.loaded, self.ca_pem, identities) if self.ca_pem else None


@dataclass(frozen=True)
class LiveCluster(Cluster):
    """A cluster whose hosts can be reached."""

    hosts: Hosts
    each: Each
    clock: Clock
    etcd: "Callable[[str, str], EtcdClient]"
    """Gives a connection to the etcd at a client URL, through the host with an address, for reading."""
    data: "Callable[[str], DataOnHost]"
    """Gives what etcd has on the disk of the host with an address, for reading."""
    gather: "Callable[..., Gathered]"
    """Gives the files that a control plane needs to come back: `gather(address, timeout=seconds)`."""

    def observe(
        self,
        timeout: float = PATIENCE,
        *,
        measure: bool = False,
        kept: dict[str, StoreReader] | None = None,
    ) -> State:
        """Look at everything once; a host may take `timeout` seconds. With `measure` for people, who read figures.

        `kept` is as for `etcdplan.observe.collect.observe`.
        """
        now = int(self.clock.time())
        stores = self.backups.begin(timeout, glance=timeout < PATIENCE) if self.backups else dict
        state = observe(
            self.target,
            self.hosts,
            self.reader(),
            now=now,
            each=self.each,
            timeout=timeout,
            hints=self.hints,
            measure=measure,
            kept=kept,
        )
        return replace(state, backups=stores())

    @cached_property
    def backups(self) -> "Watch | None":
        """Return what looks at the destinations of the spec's backups; None when it has no policy for them."""
        if self.loaded.spec.spec.backup is None:
            return None
        from etcdplan.cli.destinations import watch

        return watch(self.loaded, self.loaded.spec.spec.backup)

    def look(self, command: str, *, measure: bool = False) -> "tuple[State, Pending]":
        """Look at everything once, and at what applies have left there: one request a host, where that is possible."""
        from etcdplan.apply.pending import pending

        kept: dict[str, StoreReader] = {}
        state = self.observe(measure=measure, kept=kept)
        return state, pending(self.hosts, state, Holder.here(command), each=self.each, kept=kept)

    def notes(self, state: State) -> tuple[str, ...]:
        """Return what a reader of a plan should know of what is not planned."""
        from etcdplan.observe.balancer import behind_balancer

        return tuple(behind_balancer(self.target, state, self.hosts))

    @cached_property
    def hints(self) -> tuple[str, ...]:
        """Return the hosts that this runner last applied a spec of the cluster to: a spec may name none of them."""
        from etcdplan.apply.journal import RunnerFiles
        from etcdplan.apply.runs import hosts_of_newest

        return hosts_of_newest(RunnerFiles.home().newest(self.target.cluster))


def load(path: Path) -> Cluster:
    """Load a spec and what it names that is public; raise `SpecError`."""
    loaded = load_spec(path)
    materials = load_materials(loaded)
    ca = ""
    if materials.ca_pem is not None:
        from etcdplan.pki.leaf import trust_spkis

        ca = trust_spkis(materials.ca_pem)[0]
    return Cluster(
        loaded, build_target(loaded.spec, ca=ca, trusted_keys=materials.trusted_keys), materials.ca_pem or b""
    )


@contextmanager
def connect(
    cluster: Cluster, identities: Sequence[Path], *, wrap: Callable[[Hosts], Hosts] = lambda hosts: hosts
) -> Iterator[LiveCluster]:
    """Open the way to the cluster's hosts; `wrap` may put something between (tests do)."""
    credentials = operator_credentials(cluster.loaded, cluster.ca_pem, identities)
    systemd = cluster.loaded.spec.spec.etcd.runtime == "systemd"
    hosts = _over_ssh(cluster, credentials) if systemd else _in_lab(cluster, credentials)
    pool = ThreadPoolExecutor(max_workers=PARALLEL, thread_name_prefix="host")
    try:
        yield LiveCluster(
            cluster.loaded,
            cluster.target,
            cluster.ca_pem,
            wrap(hosts),
            pool.map,
            time,
            hosts.etcd,
            hosts.data,
            hosts.gather,
        )
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        hosts.close()


def _in_lab(cluster: Cluster, credentials: "EtcdCredentials | None") -> "LocalHosts":
    from etcdplan.lab.directory import LabDirectory
    from etcdplan.lab.errors import LabError
    from etcdplan.transport.local import LocalHosts

    try:
        lab = LabDirectory.find(cluster.target.cluster)
    except LabError as error:
        error.hint += " With 'runtime: process', metadata.name is the name of the lab that the spec is for."
        raise
    return LocalHosts(lab.hosts, versions=lab.versions, credentials=credentials)


def _over_ssh(cluster: Cluster, credentials: "EtcdCredentials | None") -> "RemoteHosts":
    from etcdplan.hosts.remote.layout import Layout
    from etcdplan.hosts.remote.reader import reader
    from etcdplan.transport.remote_hosts import RemoteHosts
    from etcdplan.transport.ssh import SshHosts
    from etcdplan.transport.ssh_config import SshSettings

    spec = cluster.loaded.spec.spec

    def layout(address: str) -> Layout:
        units = {one.name: one.unit or "" for one in spec.api_servers.instances if one.host == address}
        wanted = cluster.target.backup_hosts.get(address)
        return Layout(
            source=cluster.target.program,
            data_dir=spec.etcd.data_dir,
            etcdplan=wanted.job.program if wanted else "",
            api_servers=units,
        )

    ssh = SshHosts(
        SshSettings.from_environment(), user=spec.access.ssh.user, port=spec.access.ssh.port, reader=reader()
    )
    return RemoteHosts(ssh, credentials=credentials, layout=layout, direct=spec.access.etcd == "direct")
