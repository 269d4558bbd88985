"""The values in a spec: each mistake gives its message at its place."""

from collections.abc import Callable

import pytest

from etcdplan.spec.problems import PKI_INIT

Problems = Callable[..., list[str]]

M1 = "{name: member1, host: 10.0.0.1}"
M2 = "{name: member2, host: 10.0.0.2}"
CP = "{name: cp1, host: 10.0.0.11}"
NAMES = "use lower-case letters, digits, '-' and '.', at most 63"
HOSTS = "write an IPv4 address, an IPv6 address without brackets, or a DNS name, without scheme and port"
DURATIONS = "write a whole number and a unit (ms, s, m, h, d), such as 100ms or 30d"
SIZES = "write a whole number and a unit (B, KiB, MB, MiB, GB, GiB), such as 8GiB"
VERSIONS = "write all three numbers, 3.4.x to 3.7.x, such as 3.6.16"
FLAGS = "write it in lower case with single dashes, and none in front, such as snapshot-count"
URLS = "write scheme, host and port and nothing else, such as https://etcd.lb:2379"

CASES: dict[str, tuple[str, str, str | list[str]]] = {
    # values
    "another apiVersion": (
        "etcdplan/v1",
        "etcdplan/v2",
        "1:1: apiVersion: must be 'etcdplan/v1', but is 'etcdplan/v2'",
    ),
    "wrong enum": (
        "connect: all",
        "connect: al",
        "19:5: spec.apiServers.connect: must be 'all' or 'own', but is 'al'; did you mean 'all'?",
    ),
    "wrong runtime": (
        "version: 3.6.16",
        "version: 3.6.16\n    runtime: systmd",
        "7:5: spec.etcd.runtime: must be 'systemd' or 'process', but is 'systmd'; did you mean 'systemd'?",
    ),
    "version as a number": (
        "3.6.16",
        "3.6",
        "6:5: spec.etcd.version: must be text, but YAML reads 3.6 as a number; "
        "write all three numbers, such as 3.6.16",
    ),
    "version without patch": (
        "3.6.16",
        '"3.6"',
        f"6:5: spec.etcd.version: '3.6' is not an etcd version that etcdplan knows; {VERSIONS}",
    ),
    "version with v": (
        "3.6.16",
        "v3.6.16",
        f"6:5: spec.etcd.version: 'v3.6.16' is not an etcd version that etcdplan knows; {VERSIONS}",
    ),
    "unknown minor version": (
        "3.6.16",
        "3.8.0",
        f"6:5: spec.etcd.version: '3.8.0' is not an etcd version that etcdplan knows; {VERSIONS}",
    ),
    "name in capitals": (
        "name: prod",
        "name: Prod",
        f"3:12: metadata.name: 'Prod' is not a name; {NAMES}",
    ),
    "name with an escape": (
        "name: prod",
        r'name: "\e[31mprod"',
        rf"3:12: metadata.name: '\x1b[31mprod' is not a name; {NAMES}",
    ),
    "duration without unit": (
        "100ms",
        "100",
        f"7:5: spec.etcd.heartbeatInterval: 100 has no unit; {DURATIONS}",
    ),
    "duration, wrong unit": (
        "100ms",
        "100msec",
        f"7:5: spec.etcd.heartbeatInterval: '100msec' is not a duration; {DURATIONS}",
    ),
    "duration, fraction": (
        "1s",
        "1.5s",
        f"8:5: spec.etcd.electionTimeout: '1.5s' is not a duration; {DURATIONS}",
    ),
    "duration, fraction without unit": (
        "1s",
        "1.5",
        f"8:5: spec.etcd.electionTimeout: 1.5 has no unit; {DURATIONS}",
    ),
    "duration, zero": (
        "100ms",
        "0s",
        f"7:5: spec.etcd.heartbeatInterval: '0s' is not a duration; {DURATIONS}",
    ),
    "duration, empty": (
        "100ms",
        "",
        f"7:5: spec.etcd.heartbeatInterval: None is not a duration; {DURATIONS}",
    ),
    "duration, endless": (
        "100ms",
        "36501d",
        f"7:5: spec.etcd.heartbeatInterval: '36501d' is too large or too small for a duration; {DURATIONS}",
    ),
    "size without unit": ("8GiB", "8", f"9:5: spec.etcd.quotaBackend: 8 has no unit; {SIZES}"),
    "size, wrong unit": ("8GiB", "8G", f"9:5: spec.etcd.quotaBackend: '8G' is not a size; {SIZES}"),
    "heartbeat too close": (
        "100ms",
        "201ms",
        "8:5: spec.etcd.electionTimeout: too short for the heartbeat; "
        "make it at least 1005ms, five times 'heartbeatInterval'",
    ),
    "election too long": (
        "1s",
        "51s",
        "8:5: spec.etcd.electionTimeout: etcd takes at most 50s; 1s suits most",
    ),
    "relative directory": (
        "version: 3.6.16",
        "version: 3.6.16\n    dataDir: var/lib",
        "7:5: spec.etcd.dataDir: 'var/lib' is not a directory's absolute path; "
        "start it with '/', without '/' at the end, such as /var/lib/etcd",
    ),
    "directory that climbs": (
        "version: 3.6.16",
        "version: 3.6.16\n    dataDir: /var/../etc",
        "7:5: spec.etcd.dataDir: '.' and '..' cannot be part of it; write the path in full",
    ),
    "log directory inside the data": (
        "version: 3.6.16",
        "version: 3.6.16\n    walDir: /var/lib/etcd/wal",
        "7:5: spec.etcd.walDir: it and 'dataDir' must not hold one another; "
        "write a directory of its own, or leave 'walDir' out",
    ),
    # hosts
    "wildcard": (
        "host: 10.0.0.1}",
        "host: 0.0.0.0}",
        "12:23: spec.members[0].host: '0.0.0.0' is no single host's address; "
        "write the address that other hosts reach",
    ),
    "IPv6 wildcard": (
        "host: 10.0.0.1}",
        'host: "::"}',
        "12:23: spec.members[0].host: '::' is no single host's address; "
        "write the address that other hosts reach",
    ),
    "host with port": (
        "host: 10.0.0.1}",
        'host: "10.0.0.1:2380"}',
        f"12:23: spec.members[0].host: '10.0.0.1:2380' is not a host; {HOSTS}",
    ),
    "malformed address": (
        "host: 10.0.0.1}",
        "host: 10.0.0.256}",
        f"12:23: spec.members[0].host: '10.0.0.256' is not a host; {HOSTS}",
    ),
    "host in brackets": (
        "host: 10.0.0.1}",
        'host: "[fe80::1]"}',
        f"12:23: spec.members[0].host: '[fe80::1]' is not a host; {HOSTS}",
    ),
    "zone": (
        "host: 10.0.0.1}",
        'host: "fe80::1%eth0"}',
        "12:23: spec.members[0].host: 'fe80::1%eth0' has a zone, which means something on one host only; "
        + HOSTS,
    ),
    # members
    "no member": (
        f"members:\n    - {M1}\n    - {M2}\n    - {{name: member3, host: 10.0.0.3}}",
        "members: []",
        "11:3: spec.members: has 0 entries, at least one is needed",
    ),
    "same name": (
        "name: member2",
        "name: member1",
        "13:8: spec.members[1].name: member1 is also spec.members[0].name; every name is used once",
    ),
    "same host": (
        "10.0.0.2",
        "10.0.0.1",
        "13:23: spec.members[1].host: 10.0.0.1 is also spec.members[0].host; every host is used once",
    ),
    "same host in another spelling": (
        f"    - {M1}\n    - {M2}\n",
        '    - {name: a, host: "FD00::0:1"}\n    - {name: b, host: "fd00:0::1"}\n',
        "13:17: spec.members[1].host: fd00::1 is also spec.members[0].host; every host is used once",
    ),
    "same port twice": (
        "member2, host: 10.0.0.2",
        "member2, host: 10.0.0.2, clientPort: 2380",
        "13:39: spec.members[1].clientPort: 2380 is also the 'peerPort'; peers and clients need a port each",
    ),
    # TLS
    "no authority": (
        "    ca: {certificate: ca.crt, key: ca.key.age}\n",
        "",
        f"15:3: spec.tls.ca: mode managed needs it; {PKI_INIT} makes it",
    ),
    "plain HTTP": (
        "  tls:\n",
        "  tls:\n    mode: none\n",
        "16:5: spec.tls.mode: mode none sends all data in the clear; "
        "use 'mode: managed', or set 'allowPlaintext: true' if that is meant",
    ),
    "renewal before issue": (
        "  tls:\n",
        "  tls:\n    renewBefore: 365d\n",
        "16:5: spec.tls.renewBefore: must be shorter than 'validity'",
    ),
    # API servers
    "same API server": (
        CP,
        f"{CP}\n      - {{name: cp1, host: 10.0.0.12}}",
        "22:10: spec.apiServers.instances[1].name: cp1 is also spec.apiServers.instances[0].name; "
        "every name is used once",
    ),
    "same API server port": (
        CP,
        f"{CP}\n      - {{name: cp2, host: 10.0.0.11}}",
        "22:9: spec.apiServers.instances[1].port: 6443 on 10.0.0.11 is also "
        "spec.apiServers.instances[0].port; give it a port of its own",
    ),
    "API server on a member's port": (
        CP,
        "{name: cp1, host: 10.0.0.1, port: 2379}",
        "21:37: spec.apiServers.instances[0].port: 2379 on 10.0.0.1 is also "
        "spec.members[0].clientPort; give it a port of its own",
    ),
    "member without own": (
        CP,
        "{name: cp1, host: 10.0.0.11, member: member1}",
        "21:38: spec.apiServers.instances[0].member: only 'connect: own' binds an instance to a member; "
        "remove it, or set 'connect: own'",
    ),
    "own without member": (
        "connect: all",
        "connect: own",
        "21:9: spec.apiServers.instances[0].member: 'connect: own' needs it; "
        "write one of member1, member2, member3",
    ),
    "own with another's member": (
        f"connect: all\n    instances:\n      - {CP}",
        "connect: own\n    instances:\n      - {name: cp1, host: 10.0.0.11, member: member9}",
        "21:38: spec.apiServers.instances[0].member: there is no member 'member9'; "
        "write one of member1, member2, member3",
    ),
    "drain without own": (
        "connect: all",
        "connect: all\n    drain: balancer",
        "20:5: spec.apiServers.drain: only with 'connect: own' API servers are stopped; "
        "remove it, or set 'connect: own'",
    ),
    "drain that is a command": (
        "connect: all",
        "connect: all\n    drain: /bin/rm -rf",
        "20:5: spec.apiServers.drain: '/bin/rm -rf' is not a name; "
        "use lower-case letters, digits, '-' and '.', at most 63",
    ),
    "load balancer without port": (
        "connect: all",
        'connect: {loadBalancer: "https://etcd.lb"}',
        f"19:15: spec.apiServers.connect.loadBalancer: 'https://etcd.lb' is not a URL; {URLS}",
    ),
    "load balancer with a wild port": (
        "connect: all",
        'connect: {loadBalancer: "https://etcd.lb:70000"}',
        "19:15: spec.apiServers.connect.loadBalancer: 70000 is not a port; write one from 1 to 65535",
    ),
    "load balancer without TLS": (
        "connect: all",
        'connect: {loadBalancer: "http://etcd.lb:2379"}',
        "19:15: spec.apiServers.connect.loadBalancer: plain HTTP does not reach members that speak TLS; "
        "write https://",
    ),
    # flags
    "managed API server flag": (
        "{etcd-compaction-interval: 5m}",
        "{etcd-servers: x}",
        "22:13: spec.apiServers.flags.etcd-servers: etcdplan manages this flag itself; remove it here",
    ),
    "API server flag about other things": (
        "{etcd-compaction-interval: 5m}",
        "{v: 5m}",
        "22:13: spec.apiServers.flags.v: 'v' is not about etcd; "
        "only flags that start with 'etcd-' belong here, such as etcd-compaction-interval",
    ),
    "override that names a member": (
        "{etcd-compaction-interval: 5m}",
        '{etcd-servers-overrides: "/events#https://10.9.0.1:2379;https://10.0.0.2:2379"}',
        "22:13: spec.apiServers.flags.etcd-servers-overrides: names member member2 of this one; "
        "overrides are for other clusters",
    ),
    "managed etcd flag": (
        "snapshot-count",
        "unsafe-no-fsync",
        "10:17: spec.etcd.extraArgs.unsafe-no-fsync: etcdplan manages this flag itself; remove it here",
    ),
    "flag with dashes": (
        "snapshot-count",
        "--snapshot-count",
        f"10:17: spec.etcd.extraArgs.--snapshot-count: '--snapshot-count' is not the name of a flag; {FLAGS}",
    ),
    "two bad flags": (
        "{snapshot-count",
        '{Log: x, log-level: "a\\nb", snapshot-count',
        [
            f"10:17: spec.etcd.extraArgs.Log: 'Log' is not the name of a flag; {FLAGS}",
            "10:25: spec.etcd.extraArgs.log-level: line breaks and control characters cannot be in a flag",
        ],
    ),
}


@pytest.mark.parametrize(("old", "new", "expected"), CASES.values(), ids=CASES)
def test_mistake_is_explained_at_its_place(
    old: str, new: str, expected: str | list[str], problems: Problems
) -> None:
    assert problems(old, new) == ([expected] if isinstance(expected, str) else expected)
