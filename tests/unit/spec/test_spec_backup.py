"""Where a spec may send backups."""

from pathlib import Path

import pytest
import yaml

from etcdplan.cli.app import run
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
