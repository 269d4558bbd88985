"""Loading: each mistake gives its message at its place; a valid file gives the spec and its positions."""

import json
import os
import time
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from etcdplan.errors import SpecError
from etcdplan.spec.load import LoadedSpec, load_spec, normalised, spec_digest
from etcdplan.spec.models import LoadBalancer, Spec
from etcdplan.spec.problems import PKI_INIT, Position, SpecInvalid

Load = Callable[..., LoadedSpec]
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
    # keys
    "misspelt key": (
        "member2, host",
        "member2, hosst",
        "13:23: spec.members[1].hosst: unknown key; did you mean 'host'?",
    ),
    "key in another style": (
        "quotaBackend",
        "quota_backend",
        "9:5: spec.etcd.quota_backend: unknown key; did you mean 'quotaBackend'?",
    ),
    "unknown key": (
        "kind: EtcdCluster",
        "kind: EtcdCluster\nzzz: 1",
        "3:1: zzz: unknown key; known here: apiVersion, kind, metadata, spec",
    ),
    "unknown key below a union": (
        "connect: all",
        "connect: {url: x}",
        [
            "19:5: spec.apiServers.connect.loadBalancer: required, but missing",
            "19:15: spec.apiServers.connect.url: unknown key; known here: loadBalancer",
        ],
    ),
    "missing key": (
        "    version: 3.6.16\n",
        "",
        "5:3: spec.etcd.version: required, but missing",
    ),
    "missing at the top": ("kind: EtcdCluster\n", "", "1:1: kind: required, but missing"),
    "missing host": (M2, "{name: member2}", "13:7: spec.members[1].host: required, but missing"),
    "duplicate key": (
        "    electionTimeout: 1s\n",
        "    electionTimeout: 1s\n    version: 3.5\n",
        "9:5: spec.etcd.version: the key is already on line 6; remove one of the two",
    ),
    "key that is no text": (
        "{name: prod}",
        "{name: prod, on: 1}",
        '3:24: metadata.on: a key must be text; to mean text, quote it: "on"',
    ),
    "key that is a list": (
        "{name: prod}",
        "{name: prod, [a, b]: 1}",
        "3:24: metadata['']: a key must be plain text; write KEY: VALUE",
    ),
    "merge key": (
        M1,
        "{<<: {name: member1}, host: 10.0.0.1}",
        [
            "12:7: spec.members[0].name: required, but missing",
            "12:8: spec.members[0]['<<']: the merge key; write the entries out",
        ],
    ),
    # types
    "number for text": (
        "name: prod",
        "name: 12",
        '3:12: metadata.name: must be text, but YAML reads 12 as a number; quote it: "12"',
    ),
    "boolean for text": (
        "name: prod",
        "name: on",
        '3:12: metadata.name: must be text, but YAML reads on as true or false; quote it: "on"',
    ),
    "nothing for text": ("name: prod", "name: ", "3:12: metadata.name: must be text, but is empty"),
    "null for text": ("name: prod", "name: ~", "3:12: metadata.name: must be text, but is empty"),
    "date for text": (
        "name: prod",
        "name: 2024-01-01",
        "3:18: metadata.name: 2024-01-01 is a date to YAML; "
        'to mean text, quote it: "2024-01-01"; write numbers in decimal',
    ),
    "list for text": ("name: prod", "name: [prod]", "3:12: metadata.name: must be text, but is a list"),
    "octal port": (
        M1,
        "{name: member1, host: 10.0.0.1, peerPort: 04514}",
        "12:49: spec.members[0].peerPort: 04514 is a number in another notation to YAML; "
        'to mean text, quote it: "04514"; write numbers in decimal',
    ),
    "base-60 host": (
        "host: 10.0.0.1}",
        "host: 10:20:30}",
        "12:29: spec.members[0].host: 10:20:30 is a number in another notation to YAML; "
        'to mean text, quote it: "10:20:30"; write numbers in decimal',
    ),
    "quoted port": (
        M1,
        '{name: member1, host: 10.0.0.1, peerPort: "2380"}',
        "12:39: spec.members[0].peerPort: must be a whole number, but is text; "
        "write it in digits, without quotes",
    ),
    "infinite port": (
        M1,
        "{name: member1, host: 10.0.0.1, peerPort: .inf}",
        "12:49: spec.members[0].peerPort: .inf is a number in another notation to YAML; "
        'to mean text, quote it: ".inf"; write numbers in decimal',
    ),
    "port 0": (
        M1,
        "{name: member1, host: 10.0.0.1, peerPort: 0}",
        "12:39: spec.members[0].peerPort: 0 is not a port; write one from 1 to 65535",
    ),
    "port too large": (
        M1,
        "{name: member1, host: 10.0.0.1, peerPort: 65536}",
        "12:39: spec.members[0].peerPort: 65536 is not a port; write one from 1 to 65535",
    ),
    "quoted boolean": (
        "version: 3.6.16",
        'version: 3.6.16\n    allowOutage: "yes"',
        "7:5: spec.etcd.allowOutage: must be true or false, but is text; write true or false, without quotes",
    ),
    "mapping for a list": (
        f"    - {M1}\n    - {M2}\n    - {{name: member3, host: 10.0.0.3}}",
        "    member1: 10.0.0.1",
        "11:3: spec.members: must be a list, but is a mapping; start each entry with '- '",
    ),
    "text for a mapping": (
        M1,
        "member1",
        "12:7: spec.members[0]: must be a mapping of keys to values, but is text",
    ),
    "number for a flag": (
        '"10000"',
        "10000",
        "10:17: spec.etcd.extraArgs.snapshot-count: must be text, "
        'but YAML reads 10000 as a number; quote it: "10000"',
    ),
    "number for connect": (
        "connect: all",
        "connect: 5",
        "19:5: spec.apiServers.connect: must be all, own, or {loadBalancer: https://HOST:PORT}",
    ),
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
    # YAML
    "alias": (
        f"    - {M1}\n    - {M2}\n",
        f"    - &m {M1}\n    - *m\n",
        [
            "12:7: spec.members[0]: the anchor &m; remove it; aliases are not read",
            "13:7: spec.members[1]: the alias *m; write the value out, where it is read",
        ],
    ),
    "tag": (
        "name: prod",
        "name: !!python/name:os.system prod",
        "3:18: metadata.name: the tag 'tag:yaml.org,2002:python/name:os.system'; remove it; tags are not read",
    ),
    "second document": (
        "    connect: all\n",
        "    connect: all\n---\n",
        "20:1: a second document starts here; write one cluster a file",
    ),
    "deep nesting": (
        "name: prod",
        f"name: {'[' * 100}{']' * 100}",
        "3:37: nested deeper than 20 levels; no spec needs that",
    ),
    "invisible character": (
        "kind: EtcdCluster",
        "kind: EtcdCluster # \u202e reversed",
        "2:21: the invisible character U+202E; remove it",
    ),
}


@pytest.mark.parametrize(("old", "new", "expected"), CASES.values(), ids=CASES)
def test_mistake_is_explained_at_its_place(
    old: str, new: str, expected: str | list[str], problems: Problems
) -> None:
    assert problems(old, new) == ([expected] if isinstance(expected, str) else expected)


@pytest.mark.parametrize(
    ("old", "new", "start"),
    [
        ("  tls:\n", "\ttls:\n", "15:1: not YAML: "),
        ("{name: prod}", "{name: prod", "4:5: not YAML: "),
        ("{name: prod}", '{name: "prod}', "10:34: not YAML: "),
        ("    version", "   version", "7:22: not YAML: "),
        ("kind: EtcdCluster", "kind EtcdCluster", "3:1: not YAML: "),
    ],
)
def test_not_yaml(old: str, new: str, start: str, problems: Problems) -> None:
    (line,) = problems(old, new)
    assert line.startswith(start)
    assert line.endswith("; indent with spaces, close every quote and bracket")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", ":1:1: the file is empty; start from one of the examples"),
        (b"# nothing\n", ":1:1: the file is empty; start from one of the examples"),
        (b"---\n", ":2:1: must be a mapping of keys to values, but is empty"),
        (b"- a\n", ":1:1: must be a mapping of keys to values, but is a list"),
        (b"a: b\nc: \xff\n", ":2:4: not UTF-8 text; save it as UTF-8"),
        (b"a: \x00\n", ":1:4: the invisible character U+0000; remove it"),
        (b"#" * (1 << 20) + b"\n", ": larger than 1024 KiB; a spec takes a few KiB; is this the right file?"),
    ],
    ids=["empty", "comments", "null", "list", "latin1", "binary", "large"],
)
def test_other_files(content: bytes, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(content)
    with pytest.raises(SpecInvalid) as caught:
        load_spec(path)
    first, *_ = caught.value.message.splitlines()
    assert first == f"{path}{expected}"


def test_what_cannot_be_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    expected = {
        "none.yaml": "No such file or directory",
        ".": "Not a regular file",
        "pipe": "Not a regular file",
        "loop": "Too many levels of symbolic links",
        "a\0b": "Not a path",
    }
    for name, reason in expected.items():
        with pytest.raises(SpecError) as caught:
            load_spec(tmp_path / name)
        assert caught.value.message.endswith(
            f": cannot be read: {reason}; name a YAML file that this user may read"
        )
        assert caught.value.exit_code == 1


def test_yaml_bomb_is_refused_at_once(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 15)]
    path = tmp_path / "bomb.yaml"
    path.write_text("\n".join(lines))
    start = time.monotonic()
    with pytest.raises(SpecInvalid, match=r"a1\[0\]: the alias \*a0"):
        load_spec(path)
    assert time.monotonic() - start < 2


def test_many_problems_are_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "many.yaml"
    path.write_text("".join(f"key{i}: 1\n" for i in range(50_000)))
    with pytest.raises(SpecInvalid) as caught:
        load_spec(path)
    assert len(caught.value.message.splitlines()) <= 101


@pytest.mark.parametrize(
    "value", ["9" * 900_000, "a" * 900_000, f"1{':59' * 300_000}", f"&{'a' * 900_000} x"]
)
def test_long_values_are_cut_short(value: str, problems: Problems) -> None:
    assert all(len(line) < 400 for line in problems("name: prod", f"name: {value}"))


def test_all_problems_at_once_in_the_order_of_the_file(problems: Problems) -> None:
    found = problems("8GiB", "8", "name: prod", "name: 1", "connect: all", "connect: x", M2, "&a x")
    assert [line.split(":")[0] for line in found] == ["3", "9", "13", "13", "19"]


def test_problem_has_its_parts(load: Load, tmp_path: Path) -> None:
    with pytest.raises(SpecInvalid) as caught:
        load("member2, host", "member2, hosst")
    (problem,) = caught.value.problems
    assert problem.path == tmp_path / "prod.yaml"
    assert (problem.line, problem.column, problem.address) == (13, 23, "spec.members[1].hosst")
    assert (problem.what, problem.remedy) == ("unknown key", "did you mean 'host'?")


def test_valid_spec_with_positions(load: Load) -> None:
    loaded = load()
    assert loaded.spec.spec.etcd.quota_backend == 8 * 1024**3
    assert loaded.spec.spec.tls.renew_before == 30 * 86_400_000
    assert loaded.positions[()] == Position(1, 1)
    assert loaded.positions[("spec", "members", 1)] == Position(13, 7)
    assert loaded.positions[("spec", "members", 1, "host")] == Position(13, 23)
    assert loaded.position(("spec", "members", 1, "peerPort")) == Position(13, 7)
    with pytest.raises(TypeError):
        loaded.positions[()] = Position(2, 2)  # type: ignore[index]
    with pytest.raises(FrozenInstanceError):
        loaded.spec = loaded.spec  # type: ignore[misc]


def test_hosts_and_urls_have_one_spelling(load: Load) -> None:
    loaded = load(
        M1, "{name: member1, host: ETCD1.Example.ORG}",
        M2, '{name: member2, host: "2001:DB8:0::0A"}',
        "10.0.0.3", '"::ffff:10.0.0.3"',
        "connect: all", 'connect: {loadBalancer: "https://[FD00:0::1]:02379"}',
    )  # fmt: skip
    assert [m.host for m in loaded.spec.spec.members] == ["etcd1.example.org", "2001:db8::a", "10.0.0.3"]
    assert loaded.spec.spec.api_servers.connect == LoadBalancer(load_balancer="https://[fd00::1]:2379")


def test_what_is_just_allowed(load: Load) -> None:
    assert load("100ms", "200ms").spec.spec.etcd.heartbeat_interval == 200
    assert load("1s", "50s").spec.spec.etcd.election_timeout == 50_000
    plain = ("  tls:\n", "  tls:\n    mode: none\n    allowPlaintext: true\n")
    load(*plain, "connect: all", 'connect: {loadBalancer: "http://etcd.lb:2379"}')
    stacked = load(CP, "{name: cp1, host: 10.0.0.1}").spec.spec.api_servers
    assert stacked.instances[0].host == "10.0.0.1"
    load("{etcd-compaction-interval: 5m}", '{etcd-servers-overrides: "/events#https://10.9.0.1:2379"}')


def test_bom_crlf_and_other_scripts(load: Load, tmp_path: Path) -> None:
    spec = load().spec
    path = tmp_path / "prod.yaml"
    path.write_bytes(
        b"\xef\xbb\xbf# \xe3\x80\x80\xe6\x9c\xac\xe7\x95\xaa\n" + path.read_bytes().replace(b"\n", b"\r\n")
    )
    assert load_spec(path).spec == spec


def test_digest_ignores_spelling(load: Load) -> None:
    digest = spec_digest(load().spec)
    assert digest.startswith("sha256:")
    assert len(digest) == 71
    same = [
        ("1s", "1000ms"),
        ("8GiB", "8192MiB"),
        ("8GiB", "8GiB  # the largest"),
        (M1, "{host: 10.0.0.1, name: member1, peerPort: 2380}"),
        ("    connect: all\n", ""),
        ("kind: EtcdCluster\n", "", "apiVersion", "kind: EtcdCluster\napiVersion"),
    ]
    assert {spec_digest(load(*changes).spec) for changes in same} == {digest}
    others = [("1s", "2s"), ("3.6.16", "3.6.15"), (M1, "{name: member1, host: 10.0.0.9}")]
    assert len({digest, *(spec_digest(load(*changes).spec) for changes in others)}) == 4


def test_normalised_is_json_with_defaults_and_a_spec_again(load: Load) -> None:
    spec = load().spec
    document = normalised(spec)
    assert document["spec"]["etcd"]["dataDir"] == "/var/lib/etcd"
    assert document["spec"]["tls"]["renewBefore"] == "30d"
    assert json.dumps(document) == json.dumps(document, sort_keys=True)
    assert Spec.model_validate(document) == spec


def test_nine_members_load_fast(load: Load) -> None:
    more = "".join(f"    - {{name: m{i}, host: 10.0.1.{i}, failureDomain: z{i}}}\n" for i in range(6))
    durations = []
    for _ in range(5):
        start = time.perf_counter()
        load("  tls:\n", f"{more}  tls:\n")
        durations.append(time.perf_counter() - start)
    assert min(durations) < 0.03
