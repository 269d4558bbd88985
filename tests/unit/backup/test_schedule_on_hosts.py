"""Backups on hosts: when one is due, and the units that take it."""

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from etcdplan.backup.due import is_due
from etcdplan.cli.app import run
from etcdplan.model.backups import AHEAD, Backup, Store
from etcdplan.model.facts import known, unknown
from etcdplan.spec.schedule import parse
from tests.unit.spec.test_spec_schedule import with_policy

NOW = 1_800_000_000  # 2027-01-15 08:00 UTC
HALF_HOURLY = parse("5,35 * * * *")
LAST = NOW - 25 * 60


def store(*times: int, whole: bool = True) -> Store:
    return Store(tuple(Backup("x", 1, time, 1, 1, "restore", whole) for time in sorted(times, reverse=True)))


@settings(deadline=None)
@given(
    some.integers(0, 2 * 86_400), some.sampled_from(["*/7 * * * *", "5,35 * * * *", "@daily", "0 6 * * mon"])
)
def test_the_last_time_is_the_newest_that_is_not_ahead(later: int, text: str) -> None:
    schedule, now = parse(text), NOW + later
    last = schedule.last_before(now)
    assert 0 <= now - last <= schedule.longest_pause
    assert schedule.last_before(last) == last
    assert schedule.last_before(last - 1) < last


@pytest.mark.parametrize(
    ("stores", "due"),
    [
        ([store(LAST)], False),
        ([store(LAST - 1)], True),
        ([store()], True),
        ([store(LAST + 5), store(LAST + 5)], False),
        ([store(LAST + 5), store(LAST - 5)], True),
        ([store(LAST + 5), None], False),
        ([None, None], True),
        ([store(NOW + AHEAD + 1)], True),
        ([Store((*store(LAST + 5, whole=False).backups, *store(LAST - 1800).backups))], True),
    ],
    ids=["since", "before", "none", "both", "one", "one silent", "all silent", "future", "not whole"],
)
def test_one_is_due_unless_each_destination_that_answers_has_it(
    stores: list[Store | None], due: bool
) -> None:
    seen = {
        f"{n}": unknown(f"backup/{n}", "no answer") if one is None else known(one)
        for n, one in enumerate(stores)
    }
    assert is_due(HALF_HOURLY, seen, NOW) == due


def _write(tmp_path: Path, *options: str, code: int = 0) -> tuple[str, str]:
    spec = tmp_path / "with-backups.yaml"
    if not spec.exists():
        assert with_policy(tmp_path, schedule="0 0 1,15 * mon") == spec
    there = ("--spec-there", "/etc/etcd plan/prod.yaml")
    assert run(["backup", "units", str(spec), "-o", str(tmp_path), *there, *options]) == code
    name = tmp_path / "etcdplan-backup-three-members"
    if code:
        return "", ""
    return Path(f"{name}.service").read_text(), Path(f"{name}.timer").read_text()


def test_units_of_the_first_host_and_of_one_that_stands_by(tmp_path: Path) -> None:
    service, timer = _write(
        tmp_path, "--identity-there", "/etc/etcdplan/50%.age", "--metrics", "/var/lib/n/a.prom"
    )
    assert 'ExecStart=/usr/bin/etcdplan backup run "/etc/etcd plan/prod.yaml" --if-due --metrics' in service
    assert "LoadCredential=age-identity:/etc/etcdplan/50%%.age" in service
    assert 'ReadWritePaths="/etc/etcd plan/backups"\n' in service and "ReadWritePaths=/var/lib/n\n" in service
    assert "ExecStartPre" not in service
    assert timer.count("OnCalendar=") == 2 and "Persistent=true" in timer and "Random" not in timer
    later, same = _write(tmp_path, "--standby", "10m")
    assert "ExecStartPre=sleep 600\n" in later and same == timer


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd")
def test_systemd_takes_them(tmp_path: Path) -> None:
    _write(
        tmp_path, "--program", "/bin/true", "--user", "root", "--standby", "1m", "--etcd-there", "/opt/e t$c"
    )
    checked = subprocess.run(
        ["systemd-analyze", "verify", *tmp_path.glob("*.service"), *tmp_path.glob("*.timer")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    ours = [line for line in checked.stderr.splitlines() if "etcdplan-backup" in line]
    assert not ours, checked.stderr


@pytest.mark.parametrize(
    "options",
    [("--program", "etcdplan"), ("--standby", "soon"), ("--etcd-there", "/a\nUser=root"), ("--user", "a\nb")],
)
def test_what_does_not_belong_into_a_unit_is_refused(tmp_path: Path, options: tuple[str, str]) -> None:
    _write(tmp_path, *options, code=64)
    assert not list(tmp_path.glob("*.service"))
