"""Schedules: read as cron does, told to systemd as it understands them, and refused where they stand."""

import re
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as some

from etcdplan.errors import SpecError
from etcdplan.spec.lint import lint
from etcdplan.spec.load import load_spec
from etcdplan.spec.problems import Invalid
from etcdplan.spec.schedule import Schedule, parse
from tests.unit.spec.test_spec_backup import spec_with

MINUTE, HOUR, DAY = 60, 3600, 86_400
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def due(schedule: Schedule, begin: datetime, count: int) -> list[datetime]:
    """Return the next runs, found day by day."""
    found: list[datetime] = []
    day = begin.date()
    while len(found) < count:
        if schedule.on(day):
            found += [
                time
                for hour in schedule.hours
                for minute in schedule.minutes
                if (time := datetime(day.year, day.month, day.day, hour, minute, tzinfo=UTC)) > begin
            ]
        day += timedelta(1)
    return found[:count]


@pytest.mark.parametrize(
    ("text", "pause"),
    [
        ("*/30 * * * *", 30 * MINUTE),
        ("0 * * * *", HOUR),
        ("@hourly", HOUR),
        ("@daily", DAY),
        ("15 3 * * *", DAY),
        ("0 8-18/2 * * mon-fri", 2 * DAY + 14 * HOUR),
        ("@weekly", 7 * DAY),
        ("0 0 1 * *", 31 * DAY),
        ("0 0 29 2 *", 1461 * DAY),
        ("0 0 1,15 * 7", 7 * DAY),
        ("50-59/3,5 * * * *", 50 * MINUTE - 5 * MINUTE),
    ],
)
def test_the_longest_pause(text: str, pause: int) -> None:
    assert parse(text).longest_pause == pause


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("*/30 * * *", "has not five fields"),
        ("@reboot", "has not five fields"),
        ("60 * * * *", "'60' is no minute (0 to 59)"),
        ("* * * jan-foo *", "'foo' is no month"),
        ("* * * * 8", "'8' is no day of the week"),
        ("*/0 * * * *", "is no range of a minute"),
        ("30-10 * * * *", "is no range of a minute"),
        ("a;b * * * *", "is no minute"),
        ("0 0 31 2 *", "names a day that never comes"),
    ],
)
def test_what_is_no_schedule_is_named_where_it_stands(tmp_path: Path, text: str, what: str) -> None:
    with pytest.raises(Invalid, match=re.escape(what)):
        parse(text)
    spec = with_policy(tmp_path, schedule=text)
    line = next(n for n, one in enumerate(spec.read_text().splitlines(), 1) if "schedule:" in one)
    with pytest.raises(SpecError) as refused:
        load_spec(spec)
    assert what in refused.value.message
    assert f":{line}:" in refused.value.message


def with_policy(tmp_path: Path, **policy: Any) -> Path:
    spec = spec_with(tmp_path, "second")
    document = yaml.safe_load(spec.read_text())
    document["spec"]["backup"] |= policy
    spec.write_text(yaml.safe_dump(document, sort_keys=False))
    return spec


@pytest.mark.parametrize(("max_age", "said"), [("59m", True), ("1h", False)])
def test_an_age_that_the_schedule_cannot_keep_is_unwise(tmp_path: Path, max_age: str, said: bool) -> None:
    loaded = load_spec(with_policy(tmp_path, schedule="@hourly", maxAge=max_age))
    assert [one.address for one in lint(loaded) if one.code == "EP127"] == ["spec.backup.maxAge"] * said


def test_without_an_age_it_is_twice_the_pause(tmp_path: Path) -> None:
    policy = load_spec(with_policy(tmp_path, schedule="@hourly")).spec.spec.backup
    assert policy is not None and policy.oldest == 2 * HOUR


def _field(least: int, most: int) -> some.SearchStrategy[str]:
    number = some.integers(least, most)
    step = some.integers(1, 9).map(lambda by: f"*/{by}")
    span = some.tuples(number, number).map(lambda pair: f"{min(pair)}-{max(pair)}")
    return some.one_of(some.just("*"), step, number.map(str), span)


schedules = some.tuples(_field(0, 59), _field(0, 23), _field(1, 28), _field(1, 12), _field(0, 7)).map(
    " ".join
)


@settings(max_examples=40, deadline=None)
@given(schedules)
def test_no_pause_is_longer(text: str) -> None:
    schedule = parse(text)
    runs = due(schedule, BEGIN, 30)
    assert max((b - a).total_seconds() for a, b in pairwise(runs)) <= schedule.longest_pause


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd")
@settings(max_examples=20, deadline=None)
@given(schedules)
def test_systemd_understands_the_same(text: str) -> None:
    schedule = parse(text)
    begin = datetime.now(UTC)
    theirs: set[str] = set()
    for event in schedule.on_calendar():
        said = subprocess.run(
            ["systemd-analyze", "calendar", "--iterations=5", event],
            env={"TZ": "UTC", "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        theirs |= {
            line.split(": ")[-1][4:23] for line in said.splitlines() if "UTC" in line and "lapse" in line
        }
        theirs |= {line.split("#")[1].split(": ")[1][4:23] for line in said.splitlines() if "Iter" in line}
    ours = [f"{time:%Y-%m-%d %H:%M:%S}" for time in due(schedule, begin, 3)]
    assert ours[0] == min(theirs) and set(ours[1:2]) <= theirs
