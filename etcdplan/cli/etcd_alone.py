"""A cluster that is reached at its client URLs alone: no host is logged in to, and nothing is known of hosts."""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from etcdplan.cli.cluster import PARALLEL, Cluster, LiveCluster
from etcdplan.cli.keys import operator_credentials
from etcdplan.errors import EtcdplanError, UsageError
from etcdplan.hosts.ports import EtcdReport, ManagedHost, StoreReader
from etcdplan.model.corruption import Corruption
from etcdplan.model.state import State
from etcdplan.observe.collect import HASHING, PATIENCE, corrupt_alarms
from etcdplan.observe.membership import compose
from etcdplan.transport.etcd_report import EtcdClients, ask, held


class _NoHosts:
    """Implements `Hosts`: there is no way to any."""

    def host(self, address: str) -> ManagedHost:
        """Refuse."""
        _refuse(address)


def _refuse(address: str, **_: object) -> NoReturn:
    raise EtcdplanError(f"Host {address} is not logged in to (--without-ssh).")


@dataclass(frozen=True)
class EtcdAlone(LiveCluster):
    """A cluster of which only the etcds are asked."""

    clients: EtcdClients

    def observe(
        self,
        timeout: float = PATIENCE,
        *,
        measure: bool = False,
        kept: dict[str, StoreReader] | None = None,
    ) -> State:
        """Ask the etcd of every member of the spec, and say what they say."""
        urls = [member.client_url for member in self.target.members.values()]

        def look(url: str) -> EtcdReport | None:
            return ask(self.clients, url, timeout=timeout)

        answers = [answer for answer in self.each(look, urls) if answer is not None]
        membership, leader = compose(answers, remembered=True)
        alarms = corrupt_alarms(said for answer in answers for said in answer.errors)
        contents: dict[str, str] = {}
        for voter in membership.value.voters() if membership.value and alarms else ():
            content = held(self.clients.at, voter.client_urls[0], timeout=HASHING) if voter.serving else None
            contents |= {voter.peer_url: content} if content is not None else {}
        return State(
            hosts={},
            membership=membership,
            clusters=tuple(sorted({answer.cluster_id for answer in answers})),
            leader=leader,
            now=int(self.clock.time()),
            corruption=Corruption(tuple(sorted(alarms)), contents) if alarms else None,
        )


@contextmanager
def connect_to_etcd(cluster: Cluster, identities: Sequence[Path]) -> Iterator[EtcdAlone]:
    """Open the way to the etcds; raise `UsageError` for a lab, whose hosts are no further away."""
    if cluster.loaded.spec.spec.etcd.runtime != "systemd":
        raise UsageError("--without-ssh is for hosts that SSH leads to.", hint="Leave it out.")
    clients = EtcdClients(operator_credentials(cluster.loaded, cluster.ca_pem, identities))
    pool = ThreadPoolExecutor(max_workers=PARALLEL, thread_name_prefix="etcd")
    try:
        yield EtcdAlone(
            cluster.loaded,
            cluster.target,
            cluster.ca_pem,
            _NoHosts(),
            pool.map,
            time,
            lambda _, url: clients.at(url),
            _refuse,
            _refuse,
            clients,
        )
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        clients.close()
