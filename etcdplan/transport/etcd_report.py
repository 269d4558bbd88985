"""What an etcd says of itself and of the cluster, asked for with light calls only."""

import threading
import time
from collections.abc import Callable

from etcdplan.errors import EtcdplanError
from etcdplan.hosts.ports import EtcdReport, ListedMember
from etcdplan.transport.errors import EtcdRejected, EtcdUnreachable
from etcdplan.transport.etcd import Credentials, EtcdClient, MemberList

_SHARE = 0.7
"""Of the time that is left: what a linearizable read may take before the member's own list is asked for."""


class EtcdClients:
    """One client for each client URL, shared by threads and kept for the life of the program."""

    def __init__(self, credentials: Credentials | None) -> None:
        self.credentials = credentials
        self._clients: dict[str, EtcdClient] = {}
        self._lock = threading.Lock()

    def at(self, client_url: str) -> EtcdClient:
        """Return the client of a URL; raise `EtcdUnreachable` for one that cannot be dialled."""
        with self._lock:
            if client_url not in self._clients:
                self._clients[client_url] = EtcdClient(client_url, self.credentials)
            return self._clients[client_url]

    def members_behind(self, url: str, *, times: int, timeout: float) -> tuple[int, ...]:
        """Connect to a URL so many times; return the member ID of each etcd that answered."""
        return members_behind(url, self.credentials, "", times=times, timeout=timeout)

    def close(self) -> None:
        """Drop all connections."""
        with self._lock:
            while self._clients:
                self._clients.popitem()[1].close()


def ask(clients: EtcdClients, client_url: str, *, timeout: float) -> EtcdReport | None:
    """Return the report of the etcd at `client_url`; None when it does not answer within `timeout` seconds."""
    try:
        client = clients.at(client_url)
    except EtcdUnreachable:
        return None
    return report(client, timeout=timeout)


def report(client: EtcdClient, *, timeout: float) -> EtcdReport | None:
    """Return the report of an etcd; None when it does not answer within `timeout` seconds."""
    deadline = time.monotonic() + timeout
    try:
        status = client.status(timeout=timeout)
    except (EtcdUnreachable, EtcdRejected):
        return None
    errors = status.errors
    listed: MemberList | None = None
    confirmed = False
    try:
        # A learner rejects both lists.
        if not status.is_learner:
            listed = client.confirmed_members(timeout=_SHARE * (deadline - time.monotonic()))
            confirmed = True
    except (EtcdUnreachable, EtcdRejected) as error:
        errors = (*errors, error.message)
        try:
            listed = client.members(linearizable=False, timeout=deadline - time.monotonic())
        except (EtcdUnreachable, EtcdRejected):
            listed = None
    members = listed.members if listed is not None else ()
    return EtcdReport(
        cluster_id=status.cluster_id,
        member_id=status.member_id,
        version=status.version,
        leader_id=status.leader,
        is_learner=status.is_learner,
        serves=confirmed,
        confirmed=confirmed,
        members=tuple(
            ListedMember(member.id, member.name, member.peer_urls, member.client_urls, member.is_learner)
            for member in members
        ),
        errors=errors,
    )


def held(at: Callable[[str], EtcdClient], client_url: str, *, timeout: float) -> str | None:
    """Return what an etcd holds, as a text that is equal for equal keys at one revision; None when it does not answer.

    The revision is part of it: without writes all members that serve have the same.
    """
    deadline = time.monotonic() + timeout
    try:
        client = at(client_url)
        revision = client.linearizable_read(timeout=timeout)
        hashed = client.hash_kv(0, timeout=deadline - time.monotonic())
    except EtcdplanError:
        return None
    return f"{hashed.value:08x} at {revision}, compacted at {hashed.compact_revision}"


def members_behind(
    url: str, credentials: Credentials | None, through: str, *, times: int, timeout: float
) -> tuple[int, ...]:
    """Connect to a URL so many times, each time anew; return the member ID of each etcd that answered."""
    deadline = time.monotonic() + timeout
    found: list[int] = []
    for _ in range(times):
        left = deadline - time.monotonic()
        if left <= 0:
            break
        client = EtcdClient(url, credentials, through=through)
        try:
            found.append(client.status(timeout=left).member_id)
        except (EtcdUnreachable, EtcdRejected):
            continue
        finally:
            client.close()
    return tuple(found)
