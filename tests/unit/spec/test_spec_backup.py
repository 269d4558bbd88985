"""Where a spec may send backups."""

from pathlib import Path

import pytest
import yaml

from etcdplan.cli.app import run
from etcdplan.diff.target import build_target
from etcdplan.errors import SpecError
from etcdplan.spec.load import load_spec
from tests.support.backups import with_backups

EXAMPLE = Path(__file__).parents[3] / "examples" / "three-members.yaml"


def spec_with(home: Path, destination: str) -> Path:
    (home / "spec.yaml").write_text(EXAMPLE.read_text())
    spec = with_backups(home / "spec.yaml")
    document = yaml.safe_load(spec.read_text())
    document["spec"]["backup"]["destinations"] = ["backups", destination]
    spec.write_text(yaml.safe_dump(document, sort_keys=False))
    return spec


@pytest.mark.parametrize(
    "place",
    [
        *("/mnt/x", "../x", "s3://prod-etcd", "s3://prod-etcd/a/b-1.x", "s3://abc/a/"),
        *("sftp://ops@backup.example:2222/srv/prod", "sftp://10.0.0.9/a/", "sftp://[fd00::1]/a"),
        *("gs://prod_etcd.example", "gs://abc/a/b", "az://prod-etcd", "az://abc/a/"),
    ],
)
def test_directories_and_buckets_are_taken(tmp_path: Path, place: str) -> None:
    assert load_spec(spec_with(tmp_path, place)).spec.spec.backup.destinations[1] == place  # type: ignore[union-attr]


def hosts(home: Path, **policy: object) -> Path:
    spec = spec_with(home, "s3://bucket/prod")
    document = yaml.safe_load(spec.read_text())
    own = {
        "hosts": ["10.0.0.11", "etcd.example"],
        "schedule": "@hourly",
        "destinations": ["s3://bucket/prod"],
    }
    document["spec"]["backup"] |= own | policy
    spec.write_text(yaml.safe_dump(document, sort_keys=False))
    return spec


def test_hosts_wait_for_each_other(tmp_path: Path) -> None:
    loaded = load_spec(hosts(tmp_path, takeOverAfter="90s"))
    keys = ("-----BEGIN PUBLIC KEY-----\n",)
    target = build_target(loaded.spec, ca="ca", trusted_keys=keys)
    first, second = (one.job for one in target.backup_hosts.values())
    unit = "/etc/systemd/system/etcdplan-backup.service"
    assert "sleep" not in first.files[unit] and "ExecStartPre=sleep 90\n" in second.files[unit]
    assert first.extras == ("s3",) and first.program.endswith("+s3")
    own = tmp_path / "own.yaml"
    own.write_text(first.files["/etc/etcdplan/backup/spec.yaml"])
    again = load_spec(own).spec.spec
    assert again.backup is not None and again.backup.hosts == []
    assert again.members == loaded.spec.spec.members
    assert again.tls.operator is not None and again.tls.operator.key == "/etc/etcdplan/pki/backup/tls.key"


def test_what_a_job_does_not_depend_on_changes_no_job(tmp_path: Path) -> None:
    spec = hosts(tmp_path)
    before = build_target(load_spec(spec).spec, ca="ca").backup_hosts
    document = yaml.safe_load(spec.read_text())
    document["spec"]["etcd"]["quotaBackend"] = "3GiB"
    spec.write_text(yaml.safe_dump(document))
    assert build_target(load_spec(spec).spec, ca="ca").backup_hosts == before


@pytest.mark.parametrize(
    ("policy", "what"),
    [
        ({"hosts": ["10.0.0.11", "10.0.0.11"]}, "every host is used once"),
        ({"schedule": None}, "without 'schedule' nothing is ever due"),
        ({"destinations": ["backups"]}, "a directory beside the spec is another one on each host"),
        ({"hosts": ["a b"]}, "'a b' is not a host"),
        ({"hosts": [f"10.0.0.{n}" for n in range(1, 6)]}, "at most 4"),
    ],
)
def test_hosts_that_could_take_none_are_refused(tmp_path: Path, policy: dict[str, object], what: str) -> None:
    with pytest.raises(SpecError, match=what):
        load_spec(hosts(tmp_path, **policy))


@pytest.mark.parametrize(
    ("place", "what"),
    [
        ("s3://key:hunter2@bucket/x", "not a bucket and a prefix alone"),
        ("s3://bucket/x?secret=hunter2", "not a bucket and a prefix alone"),
        ("s3://bucket/../hunter2", "not a bucket and a prefix alone"),
        ("s3://", "not a bucket and a prefix alone"),
        ("sftp://ops:hunter2@host/x", "not a user, a host and a path alone"),
        ("sftp://host", "not a user, a host and a path alone"),
        ("sftp://host/a/../hunter2", "not a user, a host and a path alone"),
        ("sftp://-oProxyCommand=hunter2/x", "not a user, a host and a path alone"),
        ("sftp://host:99999/hunter2", "names no host and port that there can be"),
        ("sftp://host:0/hunter2", "names no host and port that there can be"),
        ("sftp://[1.2:3]/hunter2", "names no host and port that there can be"),
        ("az://container@hunter2/x", "not a bucket and a prefix alone"),
        ("gs://bucket/x#hunter2", "not a bucket and a prefix alone"),
        ("simplecache::s3://bucket/hunter2", "chains of URLs"),
        ("s3://bucket/a::file://hunter2", "chains of URLs"),
        ("sftp://[fd00::1]/a::file://hunter2", "chains of URLs"),
        ("http://user:hunter2@host/x", "'http' is not a kind of store"),
        ("file:///hunter2", "'file' is not a kind of store"),
        ("S3://bucket/hunter2", "'S3' is not a kind of store"),
    ],
)
def test_other_urls_are_refused_where_they_stand_and_not_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], place: str, what: str
) -> None:
    spec = spec_with(tmp_path, place)
    line = next(n for n, text in enumerate(spec.read_text().splitlines(), 1) if place in text)
    with pytest.raises(SpecError):
        load_spec(spec)
    assert run(["backup", "list", str(spec)]) == 1
    said = capsys.readouterr().err
    assert what in said and f":{line}:7" in said and "hunter2" not in said
