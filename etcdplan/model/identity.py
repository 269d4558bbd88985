"""The identities that etcd computes for itself.

Source: etcd `server/etcdserver/api/membership`, `computeMemberID` and `genID`: a bootstrapped member's ID hashes its
sorted peer URLs and the cluster token, the cluster's ID hashes the sorted member IDs; nothing is random.
"""

import hashlib
from collections.abc import Iterable, Mapping
from functools import lru_cache
from types import MappingProxyType


def member_id(peer_urls: Iterable[str], token: str) -> int:
    """Return the ID of a member at bootstrap."""
    digest = hashlib.sha1(("".join(sorted(peer_urls)) + token).encode(), usedforsecurity=False).digest()
    return int.from_bytes(digest[:8])


def cluster_id(member_ids: Iterable[int]) -> int:
    """Return the ID of the cluster that those members bootstrap."""
    data = b"".join(number.to_bytes(8) for number in sorted(member_ids))
    return int.from_bytes(hashlib.sha1(data, usedforsecurity=False).digest()[:8])


def initial_cluster(settings: Mapping[str, str]) -> Mapping[str, str]:
    """Parse `initial-cluster` into peer URL to name; empty when it is not set."""
    pairs = (entry.split("=", 1) for entry in settings.get("initial-cluster", "").split(",") if "=" in entry)
    return {url: name for name, url in pairs}


def bootstrap_ids(settings: Mapping[str, str]) -> tuple[int, Mapping[str, int]]:
    """Return the cluster ID and the member IDs by peer URL that an empty etcd with these settings would found."""
    token = settings.get("initial-cluster-token", "etcd-cluster")
    return _founded(tuple(initial_cluster(settings)), token)


@lru_cache(maxsize=256)
def _founded(urls: tuple[str, ...], token: str) -> tuple[int, Mapping[str, int]]:
    """The same few are asked for at every step of a plan."""
    ids = {url: member_id([url], token) for url in urls}
    return cluster_id(ids.values()), MappingProxyType(ids)


DEFAULT_CLUSTER = bootstrap_ids({"initial-cluster": "default=http://localhost:2380"})[0]
"""The ID of the cluster that an etcd founds which was told nothing, as Debian's package starts it."""
