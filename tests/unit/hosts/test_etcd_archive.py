"""Archives as releases are, and archives that want to do harm: these are named, and nothing of them is used."""

import gzip
import hashlib
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from etcdplan.hosts.etcd_archive import ArchiveError, EtcdArchive, check_archive
from etcdplan.spec.load import load_spec

ELF = b"\x7fELF program"
TOP = "etcd-v3.6.16-linux-amd64"


def file(tar: tarfile.TarFile, name: str, content: bytes = ELF, **fields: object) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    for field, value in fields.items():
        setattr(member, field, value)
    tar.addfile(member, io.BytesIO(content))


def archive(tmp_path: Path, fill: Callable[[tarfile.TarFile], None]) -> EtcdArchive:
    path = tmp_path / "etcd.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        fill(tar)
    return EtcdArchive(path, hashlib.sha256(path.read_bytes()).hexdigest())


def packed(tmp_path: Path, content: bytes) -> EtcdArchive:
    path = tmp_path / "etcd.tar.gz"
    path.write_bytes(content)
    return EtcdArchive(path, hashlib.sha256(content).hexdigest())


def test_the_programs_of_a_release_and_nothing_else(tmp_path: Path) -> None:
    def fill(tar: tarfile.TarFile) -> None:
        file(tar, TOP, b"", type=tarfile.DIRTYPE)
        file(tar, f"{TOP}/README.md", b"read me")
        file(tar, f"{TOP}/Documentation/etcd", b"a page")
        for name in ("etcd", "etcdutl", "etcdctl"):
            file(tar, f"{TOP}/{name}", ELF + name.encode())

    files = archive(tmp_path, fill).files()
    assert files == {name: ELF + name.encode() for name in ("etcd", "etcdctl", "etcdutl")}


@pytest.mark.parametrize(
    ("fill", "said"),
    [
        (lambda tar: file(tar, f"{TOP}/etcdctl"), "holds no program 'etcd'"),
        (lambda tar: (file(tar, f"{TOP}/etcd"), file(tar, f"{TOP}/../../etc/cron.d/x")), "leads out of it"),
        (lambda tar: (file(tar, f"{TOP}/etcd"), file(tar, "/etc/cron.d/x")), "leads out of it"),
        (
            lambda tar: file(tar, f"{TOP}/etcd", b"", type=tarfile.SYMTYPE, linkname="/bin/sh"),
            "no plain file",
        ),
        (
            lambda tar: file(tar, f"{TOP}/etcd", b"", type=tarfile.LNKTYPE, linkname="/etc/shadow"),
            "no plain file",
        ),
        (lambda tar: file(tar, f"{TOP}/etcd", b"", type=tarfile.FIFOTYPE), "no plain file"),
        (lambda tar: file(tar, f"{TOP}/etcd", b"#!/bin/sh\n"), "no program for Linux"),
        (lambda tar: (file(tar, "a/etcd"), file(tar, "b/etcd")), "holds etcd twice"),
        (lambda tar: [file(tar, f"{TOP}/{n}", b"") for n in range(10_001)], "more than 10000 members"),
    ],
)
def test_what_is_no_archive_of_etcd(
    tmp_path: Path, fill: Callable[[tarfile.TarFile], None], said: str
) -> None:
    with pytest.raises(ArchiveError, match=said) as caught:
        archive(tmp_path, fill).files()
    assert "Nothing of it was used" in caught.value.message


def test_a_huge_member_is_not_unpacked(tmp_path: Path) -> None:
    member = tarfile.TarInfo(f"{TOP}/etcd")
    member.size = 300 << 20
    with pytest.raises(ArchiveError, match="larger than 256 MiB"):
        packed(tmp_path, gzip.compress(member.tobuf())).files()


def test_a_bomb_is_given_up(tmp_path: Path) -> None:
    member = tarfile.TarInfo("padding")
    member.size = 2 << 30
    bomb = io.BytesIO()
    with gzip.GzipFile(fileobj=bomb, mode="wb", compresslevel=1) as plain:
        plain.write(member.tobuf())
        for _ in range(65):
            plain.write(bytes(16 << 20))
    with pytest.raises(ArchiveError, match="unpacks to more than 1024 MiB"):
        packed(tmp_path, bomb.getvalue()).files()


@pytest.mark.parametrize("content", [b"", b"no archive", gzip.compress(b"no archive" * 100, mtime=0)])
def test_what_is_not_an_archive(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ArchiveError, match=r"cannot be read as a \.tar\.gz|holds no program"):
        packed(tmp_path, content).files()


def test_a_cut_archive(tmp_path: Path) -> None:
    whole = archive(tmp_path, lambda tar: file(tar, f"{TOP}/etcd", ELF + bytes(range(256)) * 4096))
    with pytest.raises(ArchiveError, match=r"cannot be read as a \.tar\.gz"):
        packed(tmp_path, whole.path.read_bytes()[:-2000]).files()


def test_another_checksum_is_told_with_both(tmp_path: Path) -> None:
    good = archive(tmp_path, lambda tar: file(tar, f"{TOP}/etcd"))
    with pytest.raises(ArchiveError, match=f"has the SHA-256 {good.sha256}, and the spec says {'ab' * 32}"):
        EtcdArchive(good.path, "ab" * 32).files()


@pytest.mark.parametrize("name", ["missing.tar.gz", "."])
def test_no_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(ArchiveError, match="cannot be read"):
        EtcdArchive(tmp_path / name, "ab" * 32).files()


def finding(place: Path, sha256: str, version: str = "3.6.16") -> tuple[str, str, str, str]:
    spec = place / "spec.yaml"
    spec.write_text(
        f"""apiVersion: etcdplan/v1
kind: EtcdCluster
metadata: {{name: prod}}
spec:
  etcd:
    version: {version}
    source:
      archive: etcd.tar.gz
      sha256: "{sha256}"
  members: [{{name: m1, host: 10.0.0.1}}]
  tls: {{mode: none, allowPlaintext: true}}
"""
    )
    found = check_archive(load_spec(spec))
    if not found:
        return ("", "", "", "")
    (one,) = found
    return one.code, one.severity, f"{one.address} {one.position.line}", one.what


def test_what_a_spec_says_of_it_is_checked_before_a_run_needs_it(tmp_path: Path) -> None:
    missing = finding(tmp_path, "0" * 64)
    assert missing[:3] == ("EP131", "warning", "spec.etcd.source.archive 8")
    assert "etcd.tar.gz, the archive that etcd comes from, cannot be read" in missing[3]
    made = archive(tmp_path, lambda tar: file(tar, f"{TOP}/etcd", ELF + b" 3.6.16 and more"))
    assert finding(tmp_path, made.sha256) == ("", "", "", "")
    other = finding(tmp_path, made.sha256, "3.6.15")
    assert other[:3] == ("EP132", "error", "spec.etcd.source.archive 8")
    assert "is of another version than the spec's 3.6.15" in other[3]
    wrong = finding(tmp_path, "0" * 64)
    assert wrong[:3] == ("EP132", "error", "spec.etcd.source.sha256 9")
    assert f"has the SHA-256 {made.sha256}" in wrong[3]
