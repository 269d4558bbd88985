"""What is kept of any history."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as some

from etcdplan.backup.manifest import Manifest
from etcdplan.spec.backup import Retention
from etcdplan.spec.retention import reasons_to_keep
from tests.support.backups import manifest

NOW = 1_800_000_000
HOUR, DAY = 3600, 86_400


def backup(time: int, verified: str = "restore", number: int = 0) -> Manifest:
    return manifest(time, number, verified=verified)


def kept(
    backups: list[Manifest], keep: Retention, *, now: int = NOW, max_age: int | None = None
) -> list[Manifest]:
    why = reasons_to_keep(backups, keep, now=now, max_age=max_age)
    return [one for one in backups if why[one.name]]


histories = some.lists(
    some.tuples(some.integers(0, 400 * DAY), some.sampled_from(["restore", "checksum"])), max_size=60
).map(lambda history: [backup(NOW - age, verified, number) for number, (age, verified) in enumerate(history)])
keeps = some.builds(
    Retention,
    last=some.integers(1, 5),
    **{period: some.integers(0, 5) for period in ("hourly", "daily", "weekly", "monthly")},
)


@given(histories, keeps)
def test_the_newest_and_the_newest_restored_are_always_kept(history: list[Manifest], keep: Retention) -> None:
    left = kept(history, keep)
    by_age = sorted(history, key=lambda one: (one.time, one.name), reverse=True)
    assert {one.name for one in by_age[: keep.last]} <= {one.name for one in left}
    restored = [one for one in by_age if one.verified == "restore"]
    assert not restored or restored[0] in left


@given(histories, keeps)
def test_as_many_periods_as_wanted_have_their_newest(history: list[Manifest], keep: Retention) -> None:
    left = {one.name for one in kept(history, keep)}
    forms = {"hourly": "%Y%m%d%H", "daily": "%Y%m%d", "weekly": "%G-%V", "monthly": "%Y%m"}
    for period_kind, form in forms.items():
        newest: dict[str, Manifest] = {}
        for one in history:
            period = datetime.fromtimestamp(one.time, UTC).strftime(form)
            if period not in newest or (one.time, one.name) > (newest[period].time, newest[period].name):
                newest[period] = one
        latest = sorted(newest, reverse=True)[: getattr(keep, period_kind)]
        assert {newest[period].name for period in latest} <= left


@given(histories, keeps, some.integers(0, 4000 * DAY))
def test_time_alone_removes_nothing(history: list[Manifest], keep: Retention, later: int) -> None:
    assert kept(history, keep, now=NOW + later) == kept(history, keep)


@given(histories, keeps)
def test_pruning_again_removes_nothing(history: list[Manifest], keep: Retention) -> None:
    left = kept(history, keep)
    assert kept(left, keep) == left


@given(histories, keeps, some.integers(0, 100 * DAY))
def test_nothing_goes_when_backups_have_stopped(
    history: list[Manifest], keep: Retention, max_age: int
) -> None:
    stopped = all(one.time < NOW - max_age for one in history)
    if stopped:
        assert kept(history, keep, max_age=max_age) == history
    else:
        assert kept(history, keep, max_age=max_age) == kept(history, keep)


def test_no_more_is_kept_than_was_asked_for() -> None:
    history = [backup(NOW - number * HOUR, number=number) for number in range(24 * 60)]
    why = reasons_to_keep(history, Retention(last=3, daily=2, monthly=1), now=NOW, max_age=2 * HOUR)
    assert [(number, why[one.name]) for number, one in enumerate(history) if why[one.name]] == [
        (0, ("last", "daily", "monthly", "newest restored")),
        (1, ("last",)),
        (2, ("last",)),
        (9, ("daily",)),  # NOW is 08:00 UTC: the last of the day before
    ]


def test_one_from_the_future_is_kept_and_hides_no_stop() -> None:
    history = [backup(NOW + 400 * DAY, number=9), *(backup(NOW - n * DAY, number=n) for n in range(3))]
    why = reasons_to_keep(history, Retention(last=1), now=NOW, max_age=None)
    assert why[history[0].name] == ("last", "newest restored", "from the future")
