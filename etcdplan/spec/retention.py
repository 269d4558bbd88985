"""How long backups are kept: pure, for one destination."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, Protocol

from etcdplan.spec.backup import Retention


class Dated(Protocol):
    """What is asked of a backup: its name, when its snapshot began (unix seconds), and how far it was verified."""

    @property
    def name(self) -> str: ...
    @property
    def time(self) -> int: ...
    @property
    def verified(self) -> str: ...


_PERIODS: Final[Mapping[str, Callable[[datetime], tuple[int, ...]]]] = {
    "hourly": lambda time: (time.year, time.month, time.day, time.hour),
    "daily": lambda time: (time.year, time.month, time.day),
    "weekly": lambda time: tuple(time.isocalendar()[:2]),
    "monthly": lambda time: (time.year, time.month),
}


def reasons_to_keep(
    backups: Sequence[Dated], keep: Retention, *, now: int, max_age: int | None
) -> dict[str, tuple[str, ...]]:
    """Return why each backup is kept, by name, the newest first; one without a reason may go.

    Periods without a backup do not count, so time alone removes nothing. The newest that was restored is always kept,
    and everything is while the newest of all is older than `max_age` seconds: backups have stopped then, and what is
    there may be all that will ever be. `now` is unix seconds.
    """
    ordered = sorted(backups, key=lambda one: (one.time, one.name), reverse=True)
    why: dict[str, list[str]] = {one.name: [] for one in ordered}
    for one in ordered[: keep.last]:
        why[one.name].append("last")
    for period, of in _PERIODS.items():
        newest: dict[tuple[int, ...], str] = {}
        for one in ordered:
            newest.setdefault(of(datetime.fromtimestamp(one.time, UTC)), one.name)
        for name in list(newest.values())[: getattr(keep, period)]:
            why[name].append(period)
    restored = next((one.name for one in ordered if one.verified == "restore"), None)
    if restored:
        why[restored].append("newest restored")
    for one in ordered:
        if one.time > now:
            why[one.name].append("from the future")
    if ordered and max_age is not None and ordered[0].time < now - max_age:
        for name in why:
            why[name].append("backups have stopped")
    return {name: tuple(reasons) for name, reasons in why.items()}
