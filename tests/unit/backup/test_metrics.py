"""What monitoring reads, in the format that it takes."""

import re
from pathlib import Path

import pytest

from etcdplan.backup.directory import Directory
from etcdplan.backup.signing import Signer
from etcdplan.cli.app import run
from etcdplan.model.backups import Backup, Store
from etcdplan.model.facts import known, unknown
from etcdplan.render.metrics import CommandEnd, metrics_text
from tests.support.backups import manifest
from tests.unit.backup.test_seen import put
from tests.unit.spec.test_spec_backup import spec_with

SAMPLE = re.compile(r'([a-z_]+)\{((?:[a-z]+="(?:[^"\\\n]|\\["\\n])*",?)+)\} (-?\d+(?:\.\d+)?)')


def read(text: str) -> dict[tuple[str, str], float]:
    """Read the format as strictly as Prometheus does: help and type before the samples, each family once."""
    found: dict[tuple[str, str], float] = {}
    families: list[str] = []
    assert text.endswith("\n")
    for line in text.splitlines():
        if line.startswith("# HELP "):
            families.append(line.split(" ")[2])
            assert families.count(families[-1]) == 1
        elif line.startswith("# TYPE "):
            assert line == f"# TYPE {families[-1]} gauge"
        else:
            match = SAMPLE.fullmatch(line)
            assert match and match[1] == families[-1], line
            found[match[1].removeprefix("etcdplan_backup_"), match[2]] = float(match[3])
    return found


def test_each_destination_and_the_command() -> None:
    backup = Backup("prod-1", 1, 1000, 77, 544, "checksum")
    older = Backup("prod-0", 1, 400, 70, 540, "restore")
    part = Backup("prod-2", 1, 1100, 78, 544, "checksum", whole=False)
    stores = {
        "here": known(Store((part, backup, older), (1100, 1000, 400, 100))),
        'odd"\\': known(Store()),
        "gone": unknown("backup/gone", "no answer"),
    }
    text = metrics_text("prod", stores, CommandEnd("run", False, 1100.0, 1130.5, {"gone"}))
    found = read(text)
    at = 'cluster="prod",destination="here"'
    assert found["last_success_timestamp_seconds", at] == 1000
    assert found["age_seconds", at] == 130
    assert (found["size_bytes", at], found["revision", at], found["kept", at]) == (544, 77, 4)
    assert found["verified", f'{at},level="checksum"'] == 1
    assert found["last_trial_timestamp_seconds", at] == 400
    odd, gone = (f'cluster="prod",destination="{name}"' for name in (r"odd\"\\", "gone"))
    assert (found["destination_up", odd], found["kept", odd]) == (1, 0)
    assert ("last_success_timestamp_seconds", odd) not in found
    assert (found["destination_up", gone], found["destination_failed", gone]) == (0, 1)
    by = 'cluster="prod",command="run"'
    assert (found["command_success", by], found["command_duration_seconds", by]) == (0, 30.5)


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    return spec_with(tmp_path, "second")


def test_a_command_that_fails_says_so_and_keeps_what_is_known(tmp_path: Path, spec: Path) -> None:
    cluster = "three-members"
    put(Directory(tmp_path / "backups"), Signer(tmp_path / "backup.ed25519"), manifest(1000, cluster=cluster))
    file = tmp_path / "etcdplan.prom"
    assert (
        run(["backup", "run", str(spec), "--metrics", str(file)]) == 1
    )  # There is no CA, and nobody to ask.
    found = read(file.read_text())
    assert found["command_success", f'cluster="{cluster}",command="run"'] == 0
    assert found["last_success_timestamp_seconds", f'cluster="{cluster}",destination="backups"'] == 1000
    assert found["kept", f'cluster="{cluster}",destination="second"'] == 0
    assert file.stat().st_mode & 0o777 == 0o644
    assert not list(tmp_path.glob(".etcdplan*"))

    assert run(["backup", "list", str(spec), "--metrics", str(file)]) == 0
    assert read(file.read_text())["command_success", f'cluster="{cluster}",command="list"'] == 1


def test_a_file_that_cannot_be_written_is_an_error(
    tmp_path: Path, spec: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["backup", "list", str(spec), "--metrics", str(tmp_path / "nowhere" / "x.prom")]) == 1
    assert "cannot be written" in capsys.readouterr().err
