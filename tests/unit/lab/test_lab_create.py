"""Labs as they are made: private, whole, on a network of their own, with a spec that is valid."""

import json
import os
import socket
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from etcdplan.diff.target import build_target
from etcdplan.lab import create as create_module
from etcdplan.lab.directory import LabDirectory, free_network, lab_home
from etcdplan.lab.errors import LabError
from etcdplan.lab.processes import destroy
from etcdplan.pki.authority import Authority
from etcdplan.pki.keyfile import read_key
from etcdplan.pki.leaf import describe, verifies
from etcdplan.spec.load import load_materials, load_spec
from tests.unit.lab.labs import MakeLab, fake_programs, make_lab


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ETCDPLAN_LAB_HOME", str(tmp_path / "labs"))
    return tmp_path.resolve() / "labs"


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.fixture
def make(tmp_path: Path) -> MakeLab:
    return partial(make_lab, fake_programs(tmp_path / "bin"))


def test_the_spec_is_valid_and_about_the_lab(make: MakeLab, home: Path) -> None:
    lab = make("play", members=3)
    loaded = load_spec(lab.spec)
    network = lab.file().network
    assert lab.path == home / "play"
    assert loaded.spec.metadata.name == "play"
    assert [(m.name, m.host) for m in loaded.spec.spec.members] == [
        (f"member{n}", f"{network}.{n}") for n in (1, 2, 3)
    ]
    text = lab.spec.read_text()
    assert (
        f"# Spare hosts: {network}.4, {network}.5, {network}.6, {network}.7, {network}.8, {network}.9" in text
    )
    assert {root.name for root in lab.host_roots()} == {f"{network}.{n}" for n in range(1, 10)}
    assert LabDirectory.find("play") == lab
    assert LabDirectory.all() == [lab]


def test_the_certificates_work(make: MakeLab) -> None:
    lab = make()
    loaded = load_spec(lab.spec)
    ca = load_materials(loaded).ca_pem
    assert ca is not None
    names = loaded.spec.spec.tls
    assert names.ca is not None
    assert names.operator is not None
    Authority(ca, read_key(lab.path / names.ca.key))
    operator = (lab.path / names.operator.certificate).read_bytes()
    assert verifies(operator, ca)
    assert (describe(operator).client, describe(operator).server) == (True, False)
    read_key(lab.path / names.operator.key)


@pytest.mark.parametrize("members", [1, 5, 9])
@pytest.mark.parametrize("plaintext", [True, False])
@pytest.mark.parametrize("api_servers", [0, 3])
def test_every_variant_has_a_valid_spec(
    make: MakeLab, tmp_path: Path, members: int, plaintext: bool, api_servers: int
) -> None:
    program = tmp_path / "bin/kube-apiserver"
    lab = make(members=members, plaintext=plaintext, api_servers=api_servers, kube_apiserver=program)
    target = build_target(load_spec(lab.spec).spec, ca="")
    assert len(target.members) == members
    assert all(url.startswith("http://") is plaintext for url in target.members)
    assert list(target.api_servers) == [f"cp{n}" for n in range(1, api_servers + 1)]
    assert all((lab.hosts / host).is_dir() for host in target.hosts())
    assert lab.pki.exists() is not plaintext


def test_nobody_else_can_look_into_it(make: MakeLab, tmp_path: Path, home: Path) -> None:
    lab = make(api_servers=1, kube_apiserver=tmp_path / "bin/kube-apiserver")
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    for path in (lab.path, *lab.path.rglob("*")):
        if not path.is_symlink():
            assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_programs_and_their_versions(make: MakeLab, tmp_path: Path) -> None:
    lab = make()
    assert lab.versions == {str(tmp_path.resolve() / "bin/etcd"): "3.6.16"}
    for root in lab.host_roots():
        assert os.path.realpath(root / "usr/local/bin/etcd") == str(tmp_path.resolve() / "bin/etcd")


def test_two_labs_have_networks_of_their_own(make: MakeLab) -> None:
    networks = {make(f"lab{number}").file().network for number in range(5)}
    assert len(networks) == 5
    assert all(network.startswith("127.") and 64 <= int(network.split(".")[1]) <= 126 for network in networks)


def test_labs_that_are_made_at_once_have_networks_of_their_own(make: MakeLab) -> None:
    with ThreadPoolExecutor(4) as pool:
        labs = list(pool.map(make, [f"lab{number}" for number in range(8)]))
    assert len({lab.file().network for lab in labs}) == 8


def test_a_network_that_another_user_listens_on_is_left_to_them(make: MakeLab) -> None:
    lab = LabDirectory.named("demo")
    lab.path.parent.mkdir()
    wanted = free_network(lab)
    with socket.create_server((f"{wanted}.3", 2380)):
        assert free_network(lab) != wanted
    assert free_network(lab) == wanted
    assert make().file().network == wanted


def test_another_home_begins_elsewhere(
    make: MakeLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make().file().network
    monkeypatch.setenv("ETCDPLAN_LAB_HOME", str(tmp_path / "other"))
    assert make().file().network != first


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "A", "-a", "a-", "x" * 64, "a b", ".lock"])
def test_bad_names(make: MakeLab, name: str, home: Path) -> None:
    for use in (make, LabDirectory.find, LabDirectory.named):
        with pytest.raises(LabError, match="is not a name"):
            use(name)
    assert not home.exists()


@pytest.mark.parametrize("more", [{"members": 0}, {"members": 10}, {"api_servers": 10}, {"api_servers": 1}])
def test_impossible_labs(make: MakeLab, more: dict[str, int], home: Path) -> None:
    with pytest.raises(LabError):
        make(**more)
    assert not home.exists()


def test_a_lab_is_not_made_twice(make: MakeLab) -> None:
    lab = make()
    before = lab.spec.read_bytes(), lab.file()
    with pytest.raises(LabError, match="already") as refused:
        make()
    assert "lab down demo" in refused.value.hint
    assert (lab.spec.read_bytes(), lab.file()) == before


def test_there_is_no_such_lab(make: MakeLab) -> None:
    make("one")
    with pytest.raises(LabError, match=r"no lab 'two'.*there: one") as refused:
        LabDirectory.find("two")
    assert "lab up two" in refused.value.hint


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": 1}', '{"name": "demo", "more": 1}', "\xff"])
def test_a_damaged_lab_file_is_told(make: MakeLab, content: str) -> None:
    lab = make()
    (lab.path / "lab.json").write_text(content)
    with pytest.raises(LabError, match="cannot be read") as refused:
        LabDirectory.find("demo")
    assert "lab down demo" in refused.value.hint
    make("other")


@pytest.mark.parametrize("step", ["make_host", "write_key", "_spec", "free_network"])
def test_a_lab_that_was_killed_half_made_can_be_removed_and_made_again(
    make: MakeLab, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(create_module, step, killed)
        make()
    lab = LabDirectory.named("demo")
    with pytest.raises(LabError, match="already"):
        make()
    destroy(lab)
    assert not lab.path.exists()
    make()


def test_a_full_disk_is_told(make: MakeLab, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(create_module, "make_host", full)
    with pytest.raises(LabError, match="disk is full") as refused:
        make()
    assert "ETCDPLAN_LAB_HOME" in refused.value.hint


def test_a_home_that_is_a_file_is_told(make: MakeLab, home: Path) -> None:
    home.write_text("")
    with pytest.raises(LabError, match="cannot be made"):
        make()


def test_where_labs_live(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("ETCDPLAN_LAB_HOME")
    monkeypatch.setenv("HOME", "/home/u")
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    assert lab_home() == Path("/home/u/.local/share/etcdplan/labs")
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    assert lab_home() == Path("/home/u/.local/share/etcdplan/labs")
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert lab_home() == Path("/data/etcdplan/labs")


def test_api_servers_have_all_but_the_etcd_flags(make: MakeLab, tmp_path: Path) -> None:
    lab = make(api_servers=2, kube_apiserver=tmp_path / "bin/kube-apiserver")
    network = lab.file().network
    keys = set()
    for number, host in ((1, f"{network}.11"), (2, f"{network}.12")):
        base = (lab.hosts / host / f"etc/etcdplan/apiserver-cp{number}.base").read_text()
        assert f"--bind-address={host}\n" in base
        assert "--etcd-" not in base
        keys.add((lab.hosts / host / "etc/kubernetes/pki/sa.key").read_bytes())
        assert b"PUBLIC KEY" in (lab.hosts / host / "etc/kubernetes/pki/sa.pub").read_bytes()
    assert len(keys) == 1
    assert json.loads((lab.path / "lab.json").read_text())["kube_apiserver"].endswith("bin/kube-apiserver")
