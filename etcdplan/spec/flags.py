"""Flags that a spec may add to those that etcdplan sets itself."""

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Final

from etcdplan.spec.problems import Invalid, shown

MANAGED_ETCD_FLAGS: Final = (
    "advertise-*",
    "auto-tls",
    "*cert-file",
    "client-cert-auth",
    "config-file",
    "data-dir",
    "election-timeout",
    "force-new-cluster*",
    "heartbeat-interval",
    "initial-*",
    "*key-file",
    "listen-*",
    "name",
    "peer-auto-tls",
    "peer-client-cert-auth",
    "program",
    "quota-backend-bytes",
    "strict-reconfig-check",
    "*trusted-ca-file",
    "unsafe-no-fsync",
    "wal-dir",
    # These undo what plans rest on: members from the spec, one learner at a time, checked certificates.
    "discovery*",
    "proxy*",
    "*max-learners",
    "*peer-skip-client-san-verification",
    # With these etcd prints something and exits.
    "h",
    "help",
    "version",
)
"""Patterns of the etcd flags that etcdplan sets, or that must keep their defaults."""

MANAGED_API_SERVER_FLAGS: Final = ("etcd-servers", "etcd-cafile", "etcd-certfile", "etcd-keyfile")

_FLAG_NAME: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


def _faults(flags: Mapping[str, str], managed: tuple[str, ...], prefix: str, example: str) -> list[Invalid]:
    faults = []
    for name, value in flags.items():
        if any(fnmatchcase(name.lstrip("-").lower().replace("_", "-"), pattern) for pattern in managed):
            faults.append(Invalid("etcdplan manages this flag itself", "remove it here", within=(name,)))
        elif not _FLAG_NAME.fullmatch(name):
            remedy = f"write it in lower case with single dashes, and none in front, such as {example}"
            faults.append(Invalid(f"{shown(name)} is not the name of a flag", remedy, within=(name,)))
        elif not name.startswith(prefix):
            remedy = f"only flags that start with '{prefix}' belong here, such as {example}"
            faults.append(Invalid(f"{shown(name)} is not about etcd", remedy, within=(name,)))
        if not value.isprintable():
            faults.append(Invalid("line breaks and control characters cannot be in a flag", within=(name,)))
    return faults


def check_etcd_flags(flags: dict[str, str]) -> dict[str, str]:
    """Refuse, with Invalid, names that are malformed or managed, and values that are not a printable line."""
    if faults := _faults(flags, MANAGED_ETCD_FLAGS, "", "snapshot-count"):
        raise Invalid.together(faults)
    return flags


def check_api_server_flags(flags: dict[str, str]) -> dict[str, str]:
    """The same for `etcd-*` flags of kube-apiserver."""
    if faults := _faults(flags, MANAGED_API_SERVER_FLAGS, "etcd-", "etcd-compaction-interval"):
        raise Invalid.together(faults)
    return flags
