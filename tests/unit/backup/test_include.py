"""What goes with a snapshot: found where it is named, bound to the manifest, written to private files or not at all."""

import dataclasses
import json
import os
from pathlib import Path

import pytest
from pydantic import ValidationError

import etcdplan.hosts.remote.gather as gathering
from etcdplan.backup.directory import Directory
from etcdplan.backup.errors import BackupError, DestinationError
from etcdplan.backup.fetch import fetch_include
from etcdplan.backup.include import Parcel, pack, write_files
from etcdplan.backup.manifest import INCLUDE, MANIFEST, SIGNATURE, IncludedFile
from etcdplan.backup.snapshot import Content
from etcdplan.cli.app import run
from etcdplan.hosts.ports import HostUnreachable
from etcdplan.hosts.remote.gather import Gathered, HostFile, gather
from etcdplan.hosts.shell import Completed
from etcdplan.transport.local_shell import BelowRoot
from tests.support.member import Bench

SECRET = b"-----BEGIN RSA PRIVATE KEY-----\0\xff that nobody may see\n"


def lay(root: Path, path: str, content: bytes | str, mode: int = 0o600) -> None:
    file = root / path.lstrip("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    file.chmod(mode)


def found(root: Path, *units: str) -> Gathered:
    return gather(BelowRoot("10.0.0.1", root), units, timeout=30)


def paths(gathered: Gathered) -> set[str]:
    return {file.path for file in gathered.files}


def test_kubeadm_s_places_are_read_as_they_are(tmp_path: Path) -> None:
    pki = "/etc/kubernetes/pki"
    wanted = {f"{pki}/{name}" for name in ("ca.crt", "ca.key", "sa.key", "front-proxy-ca.key", "etcd/ca.key")}
    for path in wanted:
        lay(tmp_path, path, SECRET)
    lay(tmp_path, f"{pki}/ca.crt", b"certificate", 0o644)
    lay(tmp_path, f"{pki}/apiserver.key", b"a host's own, issued anew")
    lay(tmp_path, f"{pki}/etcd/server.key", b"a host's own, issued anew")
    manifest = """
spec:
  containers:
  - command: [kube-apiserver, "--audit-policy-file=/etc/kubernetes/audit.yaml"]
    args:
    - --encryption-provider-config=/etc/kubernetes/enc/config.yaml
    - --etcd-keyfile=/etc/etcd.key
"""
    lay(tmp_path, "/etc/kubernetes/manifests/kube-apiserver.yaml", manifest)
    for path in ("/etc/kubernetes/enc/config.yaml", "/etc/kubernetes/audit.yaml", "/etc/etcd.key"):
        lay(tmp_path, path, SECRET)
    gathered = found(tmp_path)
    wanted |= {
        "/etc/kubernetes/enc/config.yaml",
        "/etc/kubernetes/audit.yaml",
        "/etc/kubernetes/manifests/kube-apiserver.yaml",
    }
    assert paths(gathered) == wanted and gathered.left_out == ()
    by_path = {file.path: file for file in gathered.files}
    assert by_path[f"{pki}/sa.key"].content == SECRET
    assert by_path[f"{pki}/ca.crt"].mode == "0644" and by_path[f"{pki}/sa.key"].mode == "0600"
    assert by_path[f"{pki}/sa.key"].owner.count(":") == 1
    assert SECRET.decode(errors="replace") not in repr(gathered)


def test_what_units_and_their_environment_files_name_is_found(tmp_path: Path) -> None:
    lay(
        tmp_path,
        "/etc/systemd/system/kube-apiserver-cp1.service",
        "[Service]\nEnvironmentFile=-/etc/default/apiserver\n"
        "ExecStart=/usr/bin/kube-apiserver --client-ca-file /srv/ca.pem \\\n  $MORE --cert-dir=/x\n",
    )
    lay(
        tmp_path,
        "/etc/systemd/system/kube-apiserver-cp1.service.d/10.conf",
        '[Service]\nEnvironment="X=--requestheader-client-ca-file=/srv/front.crt"\n',
    )
    lay(tmp_path, "/etc/default/apiserver", 'MORE="--service-account-signing-key-file=/srv/sa.key --v=2"\n')
    packaged = "/usr/lib/systemd/system/kube-controller-manager.service"
    lay(tmp_path, packaged, "[Service]\nEnvironmentFile=/etc/default/kcm\n")
    lay(tmp_path, "/etc/default/kcm", "ARGS=--cluster-signing-key-file=/srv/signing.key\n")
    lay(tmp_path, "/etc/systemd/system/my-etcd.service", "[Service]\nExecStart=/usr/bin/etcd\n")
    lay(
        tmp_path,
        "/etc/systemd/system/other.service",
        "[Service]\nExecStart=/bin/x --client-ca-file=/srv/no.pem\n",
    )
    named = (
        "/srv/ca.pem",
        "/srv/ca-key.pem",
        "/srv/front.key",
        "/srv/sa.key",
        "/srv/no.pem",
        "/srv/signing.key",
    )
    for path in named:
        lay(tmp_path, path, SECRET)
    gathered = found(tmp_path, "my-etcd.service")
    assert paths(gathered) == {
        "/etc/default/apiserver",
        "/etc/systemd/system/kube-apiserver-cp1.service",
        "/etc/systemd/system/kube-apiserver-cp1.service.d/10.conf",
        "/etc/systemd/system/my-etcd.service",
        *("/srv/ca.pem", "/srv/ca-key.pem", "/srv/front.key", "/srv/sa.key"),
        *(packaged, "/etc/default/kcm", "/srv/signing.key"),
    }
    assert gathered.left_out == (("/srv/front.crt", "a flag names it, and it is not there"),)


def shim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> None:
    lay(tmp_path, f"/shims/{name}", f"#!/bin/sh\n{text}\n", 0o700)
    monkeypatch.setenv("PATH", f"{tmp_path / 'shims'}:{os.environ['PATH']}")


def test_of_processes_only_those_of_units_say_what_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anybody can call a program kube-apiserver, and have it name the secrets of others."""
    shim(
        tmp_path, monkeypatch, "systemctl", '[ "$4" = own.service ] && printf "MainPID=77\\n\\nMainPID=0\\n"'
    )
    for pid, name in ((77, "own"), (78, "kube-apiserver")):
        lay(tmp_path, f"/proc/{pid}/stat", f"{pid} ({name}) S 1")
        lay(
            tmp_path,
            f"/proc/{pid}/cmdline",
            f"x\0--client-ca-file=/srv/{pid}.crt\0--token-auth-file\0/srv/{pid}\0",
        )
        lay(tmp_path, f"/srv/{pid}", SECRET)
        lay(tmp_path, f"/srv/{pid}.crt", SECRET)
    assert paths(found(tmp_path, "own.service")) == {"/srv/77", "/srv/77.crt"}


def test_an_owner_with_a_blank_in_its_name_is_told_by_its_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay(tmp_path, "/etc/kubernetes/pki/ca.crt", b"certificate")
    shim(
        tmp_path,
        monkeypatch,
        "stat",
        '[ "$2" = %U:%G ] && echo "root:domain users" || exec /usr/bin/stat "$@"',
    )
    [file] = found(tmp_path).files
    assert file.owner == f"{os.getuid()}:{os.getgid()}" and file.content == b"certificate"


def test_links_directories_and_large_files_are_left_out_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathering, "LARGEST", 1000)
    monkeypatch.setattr(gathering, "IN_ALL", 1500)
    pki = tmp_path / "etc/kubernetes/pki"
    lay(tmp_path, "/secret", SECRET)
    pki.mkdir(parents=True)
    (pki / "sa.key").symlink_to(tmp_path / "secret")
    (pki / "sa.pub").mkdir()
    os.mkfifo(pki / "front-proxy-ca.key")
    lay(tmp_path, "/etc/kubernetes/pki/ca.key", b"x" * 1001)
    lay(tmp_path, "/etc/kubernetes/pki/ca.crt", b"x" * 999)
    lay(tmp_path, "/etc/kubernetes/pki/etcd/ca.crt", b"x" * 999)
    gathered = found(tmp_path)
    assert paths(gathered) == {"/etc/kubernetes/pki/ca.crt"}
    why = {path.removeprefix("/etc/kubernetes/pki/"): reason for path, reason in gathered.left_out}
    assert why == {
        "sa.key": "it is a link",
        "sa.pub": "it is no file that can be read",
        "front-proxy-ca.key": "it is no file that can be read",
        "ca.key": "it is too large (1001 bytes)",
        "etcd/ca.crt": "it is too large (999 bytes)",
    }


def test_a_host_that_has_nothing_gives_nothing(tmp_path: Path) -> None:
    assert found(tmp_path) == Gathered()


@pytest.mark.parametrize("line", ["file 1 0600 root:root /../x", "file 1 rw root:root /x", "what /x"])
def test_an_answer_of_no_script_of_ours_is_refused(line: str) -> None:
    class Lying:
        address = "10.0.0.1"

        def run(self, script: str, nonce: str, *_: str, **__: object) -> Completed:
            return Completed(0, f"\n{nonce} {line}\nx\n{nonce} looked \n".encode(), "")

    with pytest.raises(HostUnreachable, match="makes no sense"):
        gather(Lying(), (), timeout=5)  # type: ignore[arg-type]


FILES = (
    HostFile("/etc/kubernetes/pki/sa.key", "0600", "root:root", SECRET),
    HostFile("/etc/kubernetes/pki/ca.crt", "0644", "root:root", b"certificate"),
)


def parcel() -> Parcel:
    return pack({"10.0.0.1": Gathered(FILES), "10.0.0.2": "no answer in time"})


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, "second")


def test_it_goes_with_the_snapshot_and_comes_back_private(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    taken = bench.take(bench.directory, parcel=parcel())
    said = json.loads((bench.directory.path / f"{taken.manifest.name}.json").read_bytes())["include"]
    assert [file["path"] for file in said["files"]] == [file.path for file in FILES]
    assert said["leftOut"] == [{"host": "10.0.0.2", "why": "no answer in time"}]
    for file in bench.directory.path.iterdir():
        assert SECRET not in file.read_bytes() and file.stat().st_mode & 0o777 == 0o600
    into = bench.home / "files"
    command = ["backup", "fetch", str(bench.spec), "--include", str(into)]
    assert run([*command, "--age-identity", str(bench.home / "identity")]) == 0
    assert "0644  root:root     10.0.0.1/etc/kubernetes/pki/ca.crt" in capsys.readouterr().out
    for file in FILES:
        written = into / f"10.0.0.1{file.path}"
        assert written.read_bytes() == file.content and written.stat().st_mode & 0o777 == 0o600
    assert {path.stat().st_mode & 0o777 for path in into.rglob("*") if path.is_dir()} == {0o700}
    assert run([*command, "--age-identity", str(bench.home / "identity")]) == 1  # It is there.


def test_one_byte_of_it_changed_and_nothing_is_written(bench: Bench) -> None:
    name = bench.take(bench.directory, parcel=parcel()).manifest
    file = bench.directory.path / f"{name.name}{INCLUDE}"
    whole = file.read_bytes()
    for place in (10, len(whole) // 2, len(whole) - 1):
        changed = bytearray(whole)
        changed[place] ^= 1
        file.write_bytes(changed)
        with pytest.raises(BackupError):
            fetch_include([(bench.directory, name)], [bench.home / "identity"], bench.home / "files")
    # Encrypted for the recipients by somebody else, which anybody can do.
    file.write_bytes(pack({"10.0.0.1": Gathered(FILES[:1])}).encrypted([bench.recipient]))
    with pytest.raises(BackupError, match="not what the manifest says"):
        fetch_include([(bench.directory, name)], [bench.home / "identity"], bench.home / "files")
    file.write_bytes(dataclasses.replace(parcel(), tar=b"x" * (1 << 20)).encrypted([bench.recipient]))
    with pytest.raises(BackupError, match="more than the manifest says"):
        fetch_include([(bench.directory, name)], [bench.home / "identity"], bench.home / "files")
    assert not (bench.home / "files").exists()


def test_a_backup_without_files_says_so(bench: Bench) -> None:
    manifest = bench.take(bench.directory).manifest
    with pytest.raises(BackupError, match="has no files of hosts"):
        fetch_include([(bench.directory, manifest)], [bench.home / "identity"], bench.home / "files")


@pytest.mark.parametrize(
    ("host", "path"),
    [
        ("h", "/../x"),
        ("h", "/a/./x"),
        ("h", "x"),
        ("h", "/a//x"),
        ("h", "/a\n"),
        ("..", "/x"),
        ("h/..", "/x"),
    ],
)
def test_no_manifest_names_a_file_elsewhere(host: str, path: str) -> None:
    with pytest.raises(ValidationError):
        IncludedFile(host=host, path=path, mode="0600", owner="a:b", size=0, sha256="0" * 64)


def test_no_link_is_followed_and_nothing_is_left_of_what_fails(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "link").symlink_to(outside)
    with pytest.raises(BackupError, match="exists already"):
        write_files({"h/x": b"1"}, tmp_path / "link")
    with pytest.raises(BackupError):
        write_files({"h/x": b"1", "h/x/y": b"2"}, tmp_path / "new")
    assert not list(outside.iterdir()) and not (tmp_path / "new").exists()


def test_a_manifest_that_was_not_seen_to_be_whole_is_taken_back(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its file is there, and the answer that says so is lost."""
    other = Directory(bench.home / "second")
    content = Directory.content

    def silent(self: Directory, name: str) -> Content:
        if self is bench.directory and name.endswith(MANIFEST):
            assert (self.path / name).exists()
            raise DestinationError("no answer in time")
        return content(self, name)

    monkeypatch.setattr(Directory, "content", silent)
    taken = bench.take(bench.directory, other, parcel=parcel())
    assert taken.destinations == (str(other),) and bench.counting(other) == [taken.manifest.name]
    assert not bench.directory.names()


def test_nothing_is_left_of_a_backup_that_fails_after_its_snapshot(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the disk is full, or a trial fails: a snapshot without a manifest would stay for ever."""
    old = bench.take(bench.directory, parcel=parcel()).manifest.name
    before = bench.directory.names()
    other = Directory(bench.home / "second")
    write = Directory.write

    def full(self: Directory, name: str, data: bytes) -> None:
        if self is bench.directory and name.endswith(SIGNATURE):
            raise DestinationError("no space left on device")
        write(self, name, data)

    monkeypatch.setattr(Directory, "write", full)
    taken = bench.take(bench.directory, other, parcel=parcel())
    assert taken.destinations == (str(other),)
    assert bench.directory.names() == before and bench.counting(bench.directory) == [old]
    with pytest.raises(DestinationError):
        bench.take(bench.directory, parcel=parcel())
    assert bench.directory.names() == before
