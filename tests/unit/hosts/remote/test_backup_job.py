"""What takes backups on a systemd host: it comes whole, makes its keys once, is seen as it is, and leaves its keys."""

import getpass
import io
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from etcdplan.hosts.job_files import BackupJobFiles, PackedProgram
from etcdplan.hosts.ports import Fenced, HostRefused
from etcdplan.hosts.remote import backup_job
from etcdplan.model.backup_job import BackupJob, sha256_of
from tests.unit.hosts.remote.conftest import Bench

PROGRAM = "/opt/etcdplan/etcdplan-0.1.0"
JOB, UNITS = "/etc/etcdplan/backup", "/etc/systemd/system"
ITSELF = """#!/bin/sh
case $1$2 in
--version) echo etcdplan 0.1.0 ;;
backupkeygen) echo secret >"$3" && echo public >"$3.pub" && echo '# public key: age1x' >"$5" ;;
esac
"""
FILES = {
    f"{JOB}/spec.yaml": "{}\n",
    f"{JOB}/trusted/1.pub": "one\n",
    f"{UNITS}/etcdplan-backup.service": "[Service]\nExecStart=/bin/true\n",
    f"{UNITS}/etcdplan-backup.timer": "[Timer]\n",
}


@pytest.fixture
def bench(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(backup_job, "BACKUP_USER", getpass.getuser())
    bench.root.parent.chmod(0o755)
    for place in (bench.root, *bench.root.parents):
        if place.owner() == "root" and place != Path("/"):
            place.chmod(place.stat().st_mode | 0o111)
    for directory in ("opt", "etc/systemd/system"):
        (bench.root / directory).mkdir(parents=True, exist_ok=True)
    bench.host = replace(bench.host, layout=replace(bench.host.layout, etcdplan=PROGRAM))
    return bench


def packed(script: str = ITSELF, python: str = "python3", version: str = "0.1.0") -> PackedProgram:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w:gz") as tar:
        entry = tarfile.TarInfo("etcdplan")
        entry.size, entry.mode = len(script), 0o755
        tar.addfile(entry, io.BytesIO(script.encode()))
    return PackedProgram(sink.getvalue(), python, version)


def install(bench: Bench, program: str = PROGRAM, what: PackedProgram | None = None) -> None:
    bench.host.effects.install_etcdplan(bench.claim(), program, what or packed())


def write(bench: Bench, files: dict[str, str] = FILES) -> None:
    bench.host.effects.write_backup_job(bench.claim(), BackupJobFiles(PROGRAM, files, ("/srv/backups",)))


def seen(bench: Bench) -> BackupJob | None:
    return bench.host.inspect(timeout=10).job.get()


def test_it_comes_works_changes_and_goes(bench: Bench) -> None:
    assert seen(bench) is None
    install(bench, "/opt/etcdplan/etcdplan-0.0.9")
    install(bench)
    assert seen(bench) == BackupJob(PROGRAM)
    write(bench)
    job = seen(bench)
    assert job == BackupJob(PROGRAM, {path: sha256_of(text) for path, text in FILES.items()}, True)
    assert (job.signer, job.recipient, job.failed) == ("public\n", "age1x", False)
    keys = bench.root / "etc/etcdplan/backup/keys"
    assert keys.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o077 for path in keys.iterdir()} == {0}
    assert (bench.root / "srv/backups").is_dir()
    assert [path.name for path in (bench.root / "opt/etcdplan").iterdir()] == ["etcdplan-0.1.0"]

    # Other files; the same keys.
    (keys / "signing.key").write_text("the first")
    others = {path: text for path, text in FILES.items() if "1.pub" not in path}
    write(bench, {**others, f"{JOB}/trusted/2.pub": "two\n"})
    assert f"{JOB}/trusted/1.pub" not in seen(bench).files  # type: ignore[union-attr]
    assert (keys / "signing.key").read_text() == "the first"

    bench.host.effects.remove_backup_job(bench.claim())
    assert seen(bench) is None
    assert [path.name for path in (bench.root / "etc/etcdplan/backup").iterdir()] == ["keys"]
    assert list((bench.root / "etc/systemd/system").glob("etcdplan*")) == []


@pytest.mark.parametrize(
    ("what", "said"),
    [
        (packed(python="python3.99"), "python3.99 is not there"),
        (packed(version="0.2.0"), "not etcdplan 0.2.0"),
        (packed(script="#!/bin/sh\necho for another processor >&2; exit 1\n"), "for another processor"),
    ],
    ids=["python", "version", "fails"],
)
def test_what_does_not_run_there_is_not_installed(bench: Bench, what: PackedProgram, said: str) -> None:
    with pytest.raises(HostRefused, match=said):
        install(bench, what=what)
    assert seen(bench) is None
    assert list((bench.root / "opt").rglob("*")) in ([], [bench.root / "opt/etcdplan"])


def test_another_run_s_job_is_left_alone(bench: Bench) -> None:
    install(bench)
    write(bench)
    before = seen(bench)
    bench.lock(9)
    for act in (install, write, lambda bench: bench.host.effects.remove_backup_job(bench.claim())):
        with pytest.raises(Fenced):
            act(bench)  # type: ignore[no-untyped-call]
    assert seen(bench) == before
