"""The form of a spec: keys, types and what of YAML is read; each mistake gives its message at its place."""

from collections.abc import Callable

import pytest

Problems = Callable[..., list[str]]

M1 = "{name: member1, host: 10.0.0.1}"
M2 = "{name: member2, host: 10.0.0.2}"

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
