"""Flags: what etcdplan sets itself is refused in every spelling, the rest is let through."""

import pytest

from etcdplan.spec.flags import check_api_server_flags, check_etcd_flags
from etcdplan.spec.problems import Invalid

MANAGED = """
name data-dir wal-dir listen-peer-urls listen-client-urls listen-client-http-urls listen-metrics-urls
advertise-client-urls initial-advertise-peer-urls initial-cluster initial-cluster-state initial-cluster-token
cert-file key-file client-cert-file client-key-file trusted-ca-file peer-cert-file peer-key-file
peer-client-cert-file peer-client-key-file peer-trusted-ca-file client-cert-auth peer-client-cert-auth auto-tls
peer-auto-tls quota-backend-bytes heartbeat-interval election-timeout config-file strict-reconfig-check
force-new-cluster force-new-cluster-bump-amount unsafe-no-fsync discovery discovery-srv discovery-endpoints proxy
max-learners experimental-max-learners peer-skip-client-san-verification version help
"""
FREE = """
snapshot-count max-wals log-level auto-compaction-retention enable-pprof cipher-suites tls-min-version
client-crl-file peer-cert-allowed-cn feature-gates experimental-initial-corrupt-check metrics pre-vote
"""


@pytest.mark.parametrize("name", MANAGED.split())
def test_managed_etcd_flags(name: str) -> None:
    for spelling in (name, f"--{name}", name.upper(), name.replace("-", "_")):
        with pytest.raises(Invalid, match="manages this flag itself"):
            check_etcd_flags({spelling: "x"})


def test_other_etcd_flags() -> None:
    flags = dict.fromkeys(FREE.split(), "some value, with = and ümlaut")
    assert check_etcd_flags(flags) is flags


@pytest.mark.parametrize(
    "name", ["", "-", "--log-level", "Log-level", "log_level", "log level", "a=b", "a--b", "a\n"]
)
def test_malformed_names(name: str) -> None:
    with pytest.raises(Invalid, match="is not the name of a flag"):
        check_etcd_flags({name: "x"})


@pytest.mark.parametrize("value", ["a\nb", "a\x00", "\x1b[0m", "\u2028"])
def test_values_are_one_printable_line(value: str) -> None:
    for check, name in ((check_etcd_flags, "log-level"), (check_api_server_flags, "etcd-prefix")):
        with pytest.raises(Invalid, match="line breaks and control characters"):
            check({name: value})


def test_api_server_flags() -> None:
    assert check_api_server_flags({"etcd-compaction-interval": "5m", "etcd-prefix": ""})
    for name in (
        "etcd-servers",
        "etcd-cafile",
        "etcd-certfile",
        "etcd-keyfile",
        "--etcd-servers",
        "etcd_servers",
    ):
        with pytest.raises(Invalid, match="manages this flag itself"):
            check_api_server_flags({name: "x"})
    for name in ("v", "feature-gates", "Etcd-prefix"):
        with pytest.raises(Invalid):
            check_api_server_flags({name: "x"})
