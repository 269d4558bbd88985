"""Loading: what is no spec at all is refused; a valid file gives the spec and its positions."""

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
from etcdplan.spec.problems import Position, SpecInvalid

Load = Callable[..., LoadedSpec]
Problems = Callable[..., list[str]]

M1 = "{name: member1, host: 10.0.0.1}"
M2 = "{name: member2, host: 10.0.0.2}"
CP = "{name: cp1, host: 10.0.0.11}"


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
