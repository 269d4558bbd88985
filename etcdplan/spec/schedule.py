"""When backups are taken: the five fields of cron, in UTC. Pure.

Source: crontab(5). Where both the day of the month and that of the week are restricted, a day that fits either counts.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Final

from etcdplan.spec.problems import Invalid, shown

REMEDY: Final = (
    "write the five fields of cron (minute hour day month weekday, UTC), such as '*/30 * * * *', or @daily"
)
NAMED: Final[Mapping[str, str]] = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
}
_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELDS: Final[tuple[tuple[str, int, int, Sequence[str]], ...]] = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of the month", 1, 31, ()),
    ("month", 1, 12, _MONTHS),
    ("day of the week", 0, 7, _DAYS),
)
_PART: Final = re.compile(r"(\*|(\w+)(?:-(\w+))?)(?:/(\d+))?", re.ASCII)
_CYCLE: Final = 28 * 1461 // 4
_FIRST: Final = date(2024, 1, 1)
"""The 28 years from here have every date on every weekday, and then all begins again (until 2100)."""


@dataclass(frozen=True)
class Schedule:
    """The minutes of the day, and the days, on which a run is due. Sunday is 0."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: tuple[int, ...]
    months: tuple[int, ...]
    weekdays: tuple[int, ...]
    any_day: bool
    any_weekday: bool

    def on(self, day: date) -> bool:
        """Whether any run is due on a day."""
        if day.month not in self.months:
            return False
        fits = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return any(fits) if not (self.any_day or self.any_weekday) else all(fits)

    @cached_property
    def longest_pause(self) -> int:
        """Return the most seconds between two runs; 0 when there never is one."""
        minutes = [60 * hour + minute for hour in self.hours for minute in self.minutes]
        within = max((b - a for a, b in pairwise(minutes)), default=0)
        due = [day for day in range(_CYCLE) if self.on(_FIRST + timedelta(day))]
        if not due:
            return 0
        apart = max(b - a for a, b in pairwise([*due, due[0] + _CYCLE]))
        return 60 * max(within, apart * 1440 - (minutes[-1] - minutes[0]))

    def last_before(self, now: int) -> int:
        """Return when a run was due last, unix seconds; `now` itself counts."""
        time = datetime.fromtimestamp(now, UTC)
        for back in range(_CYCLE + 1):
            day = time.date() - timedelta(back)
            minutes = 60 * time.hour + time.minute if not back else 24 * 60
            due = [
                m for hour in self.hours for minute in self.minutes if (m := 60 * hour + minute) <= minutes
            ]
            if due and self.on(day):
                midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
                return int(midnight.timestamp()) + 60 * due[-1]
        return 0

    def on_calendar(self) -> Iterator[str]:
        """Yield the events of a systemd timer (systemd.time(7)) that together are this schedule."""
        clock = f"{_numbers(self.hours, 24)}:{_numbers(self.minutes, 60)}:00 UTC"
        month, day = _numbers(self.months, 12), _numbers(self.days, 31)
        weekdays = ",".join(_DAYS[one].capitalize() for one in self.weekdays)
        on = f"{weekdays} " if len(self.weekdays) < len(_DAYS) else ""
        if self.any_day or self.any_weekday:
            yield f"{on}*-{month}-{day} {clock}"
        else:
            yield f"{on}*-{month}-* {clock}"
            yield f"*-{month}-{day} {clock}"


@lru_cache(maxsize=16)
def parse(text: str) -> Schedule:
    """Read a schedule; raise `Invalid`."""
    fields = NAMED.get(text, text).split()
    if len(fields) != len(_FIELDS):
        raise Invalid(f"{shown(text)} has not five fields", REMEDY)
    minutes, hours, days, months, weekdays = (
        _values(field, *kind) for field, kind in zip(fields, _FIELDS, strict=True)
    )
    sundays = tuple(sorted({one % 7 for one in weekdays}))
    schedule = Schedule(
        minutes, hours, days, months, sundays, fields[2].startswith("*"), fields[4].startswith("*")
    )
    if not schedule.longest_pause:
        raise Invalid(f"{shown(text)} names a day that never comes", REMEDY)
    return schedule


def _values(field: str, name: str, least: int, most: int, words: Sequence[str]) -> tuple[int, ...]:
    found: set[int] = set()
    for part in field.split(","):
        match = _PART.fullmatch(part)
        if match is None:
            raise Invalid(f"{shown(part)} is no {name}", REMEDY)
        first, last = least, most
        if match[1] != "*":
            first = _number(match[2], name, least, most, words)
            last = (
                _number(match[3], name, least, most, words) if match[3] else first if not match[4] else most
            )
        step = int(match[4] or 1)
        if first > last or step == 0:
            raise Invalid(f"{shown(part)} is no range of a {name}", REMEDY)
        found.update(range(first, last + 1, step))
    return tuple(sorted(found))


def _number(text: str, name: str, least: int, most: int, words: Sequence[str]) -> int:
    if text.lower() in words:
        return words.index(text.lower()) + least
    if text.isdigit() and least <= int(text) <= most:
        return int(text)
    raise Invalid(f"{shown(text)} is no {name} ({least} to {most})", REMEDY)


def _numbers(values: Sequence[int], all_of: int) -> str:
    return "*" if len(values) == all_of else ",".join(f"{value:02}" for value in values)
