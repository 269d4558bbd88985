"""What docs/backups.md says of backups without etcdplan, done as printed, with Debian's age and etcd's own tools."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from etcdplan.backup.age import decrypt, encrypt
from etcdplan.backup.etcd_tools import find_tools
from etcdplan.backup.isolated import isolated_etcd
from etcdplan.lab.binaries import etcd_binaries
from etcdplan.pki.keyfile import new_identity
from tests.support.backups import with_backups
from tests.support.cli import Lab

pytestmark = pytest.mark.timeout(300)

DOCS = Path(__file__).parents[2] / "docs" / "backups.md"
SIZES = (1, 65_535, 65_536, 65_537, 300_000)
"""Around the border of a chunk."""


@pytest.fixture(autouse=True)
def _age() -> None:
    if shutil.which("age") is None:
        if os.environ.get("CI"):
            pytest.fail("CI needs Debian's age: tests/bed/install brings it")
        pytest.skip("needs age (apt-get install age)")


def words(command: str, *, cwd: Path, path: Path | None = None) -> str:
    """Run a line as a reader would, in a shell."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=cwd,
        env={"PATH": f"{path}:{os.environ['PATH']}" if path else os.environ["PATH"], "ETCDCTL_API": "3"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("size", SIZES)
def test_age_opens_ours_and_we_open_its(tmp_path: Path, size: int) -> None:
    said = words("age-keygen -o identity; age-keygen -y identity", cwd=tmp_path)
    theirs, (_, ours) = said.split()[-1], new_identity()
    plain = os.urandom(size)
    (tmp_path / "plain").write_bytes(plain)
    with (tmp_path / "plain").open("rb") as source, (tmp_path / "ours.age").open("wb") as sink:
        encrypt(source, sink, [ours, theirs])
    words("age -d -i identity -o opened ours.age", cwd=tmp_path)
    assert (tmp_path / "opened").read_bytes() == plain
    words(f"age -r {ours} -r {theirs} -o theirs.age plain", cwd=tmp_path)
    with (tmp_path / "theirs.age").open("rb") as source, (tmp_path / "back").open("wb") as sink:
        decrypt(source, sink, [tmp_path / "identity"], name="theirs.age")
    assert (tmp_path / "back").read_bytes() == plain


def printed() -> list[str]:
    """Return the commands under the heading, as they are printed."""
    section = DOCS.read_text().partition("## Without etcdplan\n")[2].partition("\n## ")[0]
    return re.findall(r"^    (\S.*)$", section, re.MULTILINE)


@pytest.mark.host
@pytest.mark.parametrize("version", ["3.4.23", "3.7.3"])
def test_the_documented_restore(lab: Lab, tmp_path: Path, version: str) -> None:
    lab.up(1, version=version)
    for number in range(20):
        assert lab.etcdctl("put", f"/registry/things/{number}", "{}").returncode == 0
    member = yaml.safe_load(lab.spec.read_text())["spec"]["members"][0]
    host = lab.place.path / "hosts" / member["host"]
    secret = host / "etc/kubernetes/pki/sa.key"
    secret.parent.mkdir(parents=True)
    secret.write_bytes(b"a key")
    secret.chmod(0o600)
    spec = with_backups(lab.spec)
    opens = ("--age-identity", lab.place.path / "identity", "--etcd-dir", etcd_binaries(version))
    taken = json.loads(lab.run("backup", "run", spec, "--json", *opens).out)
    assert [file["path"] for file in taken["include"]["files"]][-1:] == ["/etc/kubernetes/pki/sa.key"]

    # What a reader has: the three or four files, the identity and the public key.
    for file in (lab.place.path / "backups").iterdir():
        shutil.copyfile(file, tmp_path / file.name.replace(taken["name"], "NAME"))
    shutil.copyfile(lab.place.path / "identity", tmp_path / "backup.identity")
    shutil.copyfile(lab.place.path / "backup.ed25519.pub", tmp_path / "backup.ed25519.pub")
    commands = printed()
    assert [command.split()[0] for command in commands] == ["openssl", "age", "etcdutl", "mkdir"]
    for command in commands:
        if version == "3.4.23":  # As the sentence below the commands says.
            command = command.replace("etcdutl", "etcdctl")
            command = command.replace(" --bump-revision 1000000000 --mark-compacted", "")
        words(command, cwd=tmp_path, path=etcd_binaries(version))

    assert (tmp_path / f"files/{host.name}/etc/kubernetes/pki/sa.key").read_bytes() == b"a key"
    tools = find_tools(version, [etcd_binaries(version)])
    scratch = tmp_path / "scratch"
    scratch.mkdir(mode=0o700)
    with isolated_etcd(tools, tmp_path / "restored", scratch, name="default", token="x") as etcd:
        assert etcd.count(timeout=10) == 20
        raised = 0 if version == "3.4.23" else 1_000_000_000
        assert etcd.linearizable_read(timeout=10) >= taken["revision"] + raised


def test_a_forged_manifest_is_refused_by_the_first_of_them(tmp_path: Path) -> None:
    from etcdplan.backup.signing import Signer, new_signing_key
    from etcdplan.pki.keyfile import write_key

    key, public = new_signing_key()
    write_key(tmp_path / "key", key)
    (tmp_path / "backup.ed25519.pub").write_bytes(public)
    (tmp_path / "NAME.sig").write_bytes(Signer(tmp_path / "key").sign(b"{}\n"))
    (tmp_path / "NAME.json").write_bytes(b"{ }\n")
    with pytest.raises(AssertionError):
        words(printed()[0], cwd=tmp_path)
    (tmp_path / "NAME.json").write_bytes(b"{}\n")
    words(printed()[0], cwd=tmp_path)
