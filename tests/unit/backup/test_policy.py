"""What is found of any history of backups: exactly what the policy asks and is not so."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from etcdplan.diff.backup_host import JobTarget
from etcdplan.diff.target import BackupHostTarget, BackupTarget, Target
from etcdplan.diff.view import View
from etcdplan.model.backup_job import BackupJob
from etcdplan.model.backups import Backup, Store
from etcdplan.model.corruption import Corruption
from etcdplan.model.facts import ABSENT, Fact, known, unknown
from etcdplan.model.state import Host, State
from etcdplan.planner.backup_checks import SPARE, check_backups, cited
from etcdplan.planner.rules.backups import FRESH, wanted_backup
from etcdplan.planner.unroll import unroll
from etcdplan.spec.backup import Retention
from tests.plans.cases import CASES
from tests.plans.clusters import target_of as cases_target_of
from tests.support.scenarios import make_spec, target_of

NOW = 1_800_000_000
OURS = target_of(make_spec(3)).founding_id
DAY = 86_400


def target(**policy: Any) -> Target:
    said: dict[str, Any] = {"verify": "restore", "retention": None, "max_age": None, "max_trial_age": None}
    return replace(target_of(make_spec(3)), backup=BackupTarget(("a", "b"), **said | policy))


def state(a: Fact[Store], b: Fact[Store] | None = None) -> State:
    return State({}, now=NOW, backups={"a": a, "b": b or a})


def store(*backups: Backup) -> Fact[Store]:
    ordered = sorted(backups, key=lambda one: one.time, reverse=True)
    return known(Store(tuple(ordered), tuple(one.time for one in ordered)))


def codes(target: Target, state: State, place: str = "a") -> set[str]:
    return {one.code for one in check_backups(target, state) if f"backup/{place}" in one.address.split(", ")}


backups = some.builds(
    Backup,
    name=some.just("x"),
    cluster_id=some.sampled_from([OURS, OURS, OURS, 7]),
    time=some.integers(NOW - 40 * DAY, NOW + 100),
    revision=some.just(1),
    size=some.just(1),
    verified=some.sampled_from(["restore", "checksum"]),
)
histories = some.lists(backups, max_size=12)
ages = some.none() | some.integers(60, 30 * DAY)
policies = some.fixed_dictionaries(
    {
        "verify": some.sampled_from(["restore", "checksum"]),
        "max_age": ages,
        "max_trial_age": ages,
        "retention": some.none() | some.builds(Retention, last=some.integers(1, 4)),
    }
)


@given(histories, policies)
def test_what_is_found_is_what_is_not_so(history: list[Backup], policy: dict[str, Any]) -> None:
    """An oracle that counts in the plainest way."""
    found = codes(target(**policy), state(store(*history)))
    ours = [one for one in history if one.cluster_id == OURS]
    newest = max((one.time for one in ours), default=None)
    assert ("EP301" in found) == (newest is None)
    if newest is None:
        assert found == {"EP301"}
        return
    assert ("EP302" in found) == (policy["max_age"] is not None and NOW - newest > policy["max_age"])
    levels = {one.verified for one in ours if one.time == newest}
    if len(levels) == 1:
        assert ("EP303" in found) == (policy["verify"] == "restore" and levels == {"checksum"})
    tried = max((one.time for one in ours if one.verified == "restore"), default=-1)
    late = policy["max_trial_age"] is not None and NOW - tried > policy["max_trial_age"]
    assert ("EP304" in found) == late
    few = policy["retention"] is None or len(history) <= policy["retention"].last + SPARE
    assert not few or "EP305" not in found


@given(histories, policies)
def test_what_a_plan_rests_on_is_young_and_verified_as_asked(
    history: list[Backup], policy: dict[str, Any]
) -> None:
    seen = state(store(*history), unknown("backup/b", "no answer"))
    step = wanted_backup(View(target(**policy), seen))
    assert step is not None
    age = policy["max_age"] or FRESH
    good = [
        one
        for one in history
        if one.cluster_id == OURS
        and NOW - one.time <= age
        and (policy["verify"] == "checksum" or one.verified == "restore")
    ]
    # Only the newest of each level is looked at; it is the youngest.
    assert bool(step.effects(seen)) == (not good)


def test_what_is_unknown_is_neither_good_nor_absent() -> None:
    gone = unknown("backup/b", "no answer within 5 s")
    young = store(Backup("x", OURS, NOW - 60, 1, 1, "restore"))
    seen = state(young, gone)
    assert codes(target(max_age=3600), seen, "a") == set()
    assert codes(target(max_age=3600), seen, "b") == {"EP306"}
    assert codes(target(max_age=3600), State({}, now=NOW), "a") == {"EP306"}
    step = wanted_backup(View(target(max_age=3600), seen))
    assert step is not None and not step.effects(seen) and step.effects(state(gone))


def test_a_clock_that_is_ahead_makes_no_backup_young() -> None:
    ahead = state(store(Backup("x", OURS, NOW + DAY, 1, 1, "restore")))
    assert codes(target(max_age=3600), ahead) == {"EP302"}
    step = wanted_backup(View(target(max_age=3600), ahead))
    assert step is not None and step.effects(ahead)


def test_the_same_at_several_destinations_is_said_once() -> None:
    [one] = check_backups(target(max_age=60), state(store()))
    assert (one.code, one.address) == ("EP301", "backup/a, backup/b")


def test_a_restore_does_not_wait_for_a_last_backup_that_nobody_can_give() -> None:
    """No majority holds the same data: whose are right is not known, and that is why one restores."""
    spec, whole = CASES["backup-before-a-restore"]()
    urls = [f"https://10.0.0.{number}:2380" for number in (1, 2, 3)]
    torn = replace(whole, corruption=Corruption((0,), {url: url for url in urls}))
    for state, taken in ((whole, True), (torn, False)):
        plan = unroll(cases_target_of(spec), state)
        assert not plan.refusals
        assert ("take-backup" in [planned.step.kind for planned in plan.steps]) == taken
        assert any("No last backup" in note for note in cited(plan)) != taken


PEM = "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n"


@pytest.mark.parametrize(
    ("job", "said"),
    [
        (None, set()),
        (BackupJob(signer=PEM.format("abcd"), recipient="age1ours"), set()),
        (BackupJob(signer=PEM.format("ab\ncd"), recipient="age1ours"), set()),
        (BackupJob(signer=PEM.format("abce"), recipient="age1ours"), {"EP308"}),
        (BackupJob(signer=PEM.format("abcd"), recipient="age1other"), {"EP308"}),
        (BackupJob(signer=PEM.format("abcd"), recipient="age1ours", failed=True), {"EP309"}),
        (BackupJob(signer=PEM.format("abce"), recipient="age1ours", failed=True), {"EP308"}),
    ],
)
def test_what_keeps_a_host_from_taking_backups_is_found(job: BackupJob | None, said: set[str]) -> None:
    wanted = BackupHostTarget("h", "h", (), JobTarget("", (), {}, ()))
    policy = target(recipients=("age1ours",), trusted_keys=(PEM.format("abcd"),))
    asked = replace(policy, backup_hosts={"h": wanted})
    host = Host("h", job=known(job) if job else ABSENT)
    seen = replace(state(store()), hosts={"h": host})
    found = {one.code for one in check_backups(asked, seen) if one.address == "backup-host/h"}
    assert found == said
    silent = replace(seen, hosts={"h": replace(host, unreachable="no answer")})
    assert {one.code for one in check_backups(asked, silent) if "host" in one.address} == {"EP310"}
