"""Hosts of a lab on which every call that changes the member list, or who leads, is delivered and its reply lost."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, cast
from urllib.parse import urlsplit

from etcdplan.hosts.ports import Hosts
from etcdplan.transport.etcd import Credentials, EtcdClient
from etcdplan.transport.etcd_report import EtcdClients
from etcdplan.transport.local import LocalHost, LocalHosts
from etcdplan.transport.local_effects import LocalEffects
from tests.support.lost_reply import LostReplyProxy

MUTATING = ("member_add", "member_promote", "member_remove", "move_leader")


@dataclass
class LossyHosts:
    """Hosts whose effects call etcd through proxies. `lost` counts the replies that were cut, by call."""

    hosts: LocalHosts
    clients: EtcdClients
    lost: Counter[str] = field(default_factory=Counter)

    def host(self, address: str) -> Any:
        """Return a host; what only looks goes straight to etcd."""
        local: LocalHost = self.hosts.host(address)
        return _LossyHost(local, replace(local.effects, clients=self.clients))


@dataclass(frozen=True)
class _LossyHost:
    _host: LocalHost
    effects: LocalEffects

    def __getattr__(self, name: str) -> Any:
        return getattr(self._host, name)


class _LossyClients(EtcdClients):
    def __init__(self, credentials: Credentials | None, stack: ExitStack, lost: Counter[str]) -> None:
        super().__init__(credentials)
        self._dialled = credentials
        self._stack = stack
        self._lost = lost
        self._lossy: dict[str, EtcdClient] = {}

    def at(self, client_url: str) -> EtcdClient:
        if client_url not in self._lossy:
            parts = urlsplit(client_url)
            assert parts.hostname is not None
            assert parts.port is not None
            proxy = self._stack.enter_context(LostReplyProxy(parts.hostname, parts.port))
            client = EtcdClient(f"{parts.scheme}://{proxy.host}:{proxy.port}", self._dialled)
            self._stack.callback(client.close)
            self._lossy[client_url] = cast(EtcdClient, _LossyClient(client, proxy, self._lost))
        return self._lossy[client_url]


@dataclass
class _LossyClient:
    client: EtcdClient
    proxy: LostReplyProxy
    lost: Counter[str]

    def __getattr__(self, name: str) -> Callable[..., Any]:
        assert name in MUTATING

        def call(*args: object, **kwargs: object) -> object:
            # The handshake's own replies are let through.
            self.client.status(timeout=5)
            cuts = self.proxy.cuts
            self.proxy.cut_replies()
            try:
                return getattr(self.client, name)(*args, **kwargs)
            finally:
                self.lost[name] += self.proxy.cuts - cuts

        return call


@contextmanager
def lossy(hosts: Hosts, credentials: Credentials | None) -> Iterator[LossyHosts]:
    """Put proxies between the effects of a lab's hosts and its etcds."""
    assert isinstance(hosts, LocalHosts)
    with ExitStack() as stack:
        lost: Counter[str] = Counter()
        yield LossyHosts(hosts, _LossyClients(credentials, stack, lost), lost)
