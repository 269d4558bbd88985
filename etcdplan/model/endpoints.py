"""The etcd endpoints that an API server's flags name.

Source: kube-apiserver's reference page, `--etcd-servers` and `--etcd-servers-overrides`.
"""

from etcdplan.model.state import Settings

SERVERS = "etcd-servers"
OVERRIDES = "etcd-servers-overrides"

KEPT = ("etcd-prefix", OVERRIDES)
"""Flags that say where objects are kept. Changing one hides objects, so that only a spec that names it changes it."""


def servers(settings: Settings) -> frozenset[str]:
    """Return the endpoints of the cluster."""
    return frozenset(url for url in settings.get(SERVERS, "").split(",") if url)


def overrides(settings: Settings) -> frozenset[str]:
    """Return the endpoints for resources of their own, written `group/resource#url;url,group/resource#url`."""
    entries = (entry.partition("#")[2] for entry in settings.get(OVERRIDES, "").split(","))
    return frozenset(url.rstrip("/") for entry in entries for url in entry.split(";") if url)


def named(settings: Settings) -> frozenset[str]:
    """Return all endpoints."""
    return servers(settings) | overrides(settings)
