"""What of the spec's policy for backups is not met, with a stable code for each: said beside the plan, and in `drift`.

A plan does not mend it: `backup run` does, on its schedule and with its own keys (docs/decisions/0019).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from etcdplan.diff.target import BackupTarget, Target
from etcdplan.diff.view import View
from etcdplan.model.backups import AHEAD, Store, Stores, told
from etcdplan.model.facts import Fact, unknown
from etcdplan.model.state import State
from etcdplan.planner.checks import Finding
from etcdplan.planner.rules.backups import last_wanted, wanted_backup
from etcdplan.planner.unroll import Plan
from etcdplan.spec.retention import reasons_to_keep

BACKUP_CODES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "EP301": "no backup that counts",
        "EP302": "backups have stopped",
        "EP303": "backup verified less than the policy asks",
        "EP304": "no recent trial restore",
        "EP305": "retention not applied",
        "EP306": "destination of backups unknown",
        "EP307": "newest backup does not count",
        "EP308": "backup host's keys not in the spec",
        "EP309": "backup host's last run failed",
        "EP310": "backup host silent",
    }
)
"""Code -> title. Codes keep their meaning; a retired one is not used again."""

SPARE: Final = 3
"""Backups beyond the retention that are not told of: they came since it was last applied."""


@dataclass(frozen=True, slots=True)
class _Dated:
    name: str
    time: int
    verified: str


def check_backups(target: Target, state: State) -> tuple[Finding, ...]:
    """All that the policy asks and that is not so, for each destination; nothing without a policy. Pure."""
    policy = target.backup
    if policy is None:
        return ()
    cluster_id = View(target, state).cluster_id
    found: list[Finding] = []
    for place in policy.destinations:
        store = of(state.backups, place)
        if store.value is None:
            why = store.why or "nobody looked"
            found.append(
                Finding(
                    "EP306",
                    "warning",
                    f"backup/{place}",
                    f"it could not be seen what is there: {why}",
                    "see that it answers; backups that go there may fail, too",
                )
            )
        else:
            found += _short(policy, place, store.value, cluster_id, state.now)
    found += _hosts(target, policy, state)
    together: dict[Finding, list[str]] = {}
    for one in found:
        together.setdefault(replace(one, address=""), []).append(one.address)
    said = (replace(one, address=", ".join(addresses)) for one, addresses in together.items())
    return tuple(sorted(said, key=lambda one: one.code))


def _hosts(target: Target, policy: BackupTarget, state: State) -> Iterator[Finding]:
    """What keeps hosts from taking backups by themselves."""
    for address in target.backup_hosts:
        host = state.hosts.get(address)
        if host is None or host.unreachable:
            what = "it does not answer, so that its timer is left as it is"
            remedy = "bring it back; until then the others take the backups"
            yield Finding("EP310", "warning", f"backup-host/{address}", what, remedy)
            continue
        job = host.job.value
        if job is None or not job.signer:
            continue
        missing = [] if key_of(job.signer) in map(key_of, policy.trusted_keys) else ["'trustedKeys'"]
        missing += (
            ["'recipients'"] if policy.verify == "restore" and job.recipient not in policy.recipients else []
        )
        if missing:
            what = f"{' and '.join(missing)} {'do' if len(missing) > 1 else 'does'} not have its key, and its runs fail"
            remedy = "etcdplan backup keys SPEC shows its public keys; put them into the spec, and apply"
            yield Finding("EP308", "error", f"backup-host/{address}", what, remedy)
        elif job.failed:
            remedy = "journalctl -u etcdplan-backup says why there"
            yield Finding("EP309", "warning", f"backup-host/{address}", "its last run failed", remedy)


def key_of(pem: str) -> str:
    """Return what a public key in PEM says, however its lines are broken."""
    return "".join(line.strip() for line in pem.splitlines() if not line.startswith("-----"))


def of(stores: Stores, place: str) -> Fact[Store]:
    """Return what is known of a destination; one that nobody looked at is unknown."""
    return stores.get(place) or unknown(f"backup/{place}", "it was not looked at")


def _short(policy: BackupTarget, place: str, store: Store, cluster_id: int, now: int) -> Iterator[Finding]:
    address = f"backup/{place}"
    if store.distrusted:
        remedy = "find out who wrote it; etcdplan backup list SPEC shows all"
        yield Finding("EP307", "warning", address, store.distrusted.rstrip("."), remedy)
    newest = store.newest(cluster_id, restored=False)
    if newest is None:
        other = " of this cluster ID; those there are of another" if store.backups else ""
        what = f"there is no backup that counts{other}"
        yield Finding("EP301", "error", address, what, "take one: etcdplan backup run SPEC")
        return
    age = now - newest.time
    if age < -AHEAD:
        what = f"{newest.name} says that it is from {told(-age)} ahead"
        yield Finding("EP302", "warning", address, what, "mend the clock of the machine that takes backups")
    if policy.max_age is not None and age > policy.max_age:
        what = f"the newest that counts is {told(age)} old, and 'maxAge' is {told(policy.max_age)}"
        remedy = "see why the schedule's runs fail, then: etcdplan backup run SPEC"
        yield Finding("EP302", "error", address, what, remedy)
    if policy.verify == "restore" and newest.verified != "restore":
        what = f"the newest that counts was not restored on trial, and 'verify' is restore ({newest.name})"
        yield Finding(
            "EP303", "warning", address, what, "etcdplan backup run SPEC, with the spec as it is now"
        )
    if policy.max_trial_age is not None:
        restored = store.newest(cluster_id, restored=True)
        if restored is None or now - restored.time > policy.max_trial_age:
            last = (
                "none of the newest was"
                if restored is None
                else f"the last was {told(now - restored.time)} ago"
            )
            what = f"a backup is to be restored on trial every {told(policy.max_trial_age)}, and {last}"
            yield Finding("EP304", "warning", address, what, "etcdplan backup run SPEC --trial")
    if policy.retention is not None and (surplus := _surplus(policy, store, now)) > SPARE:
        what = f"{surplus} of {len(store.times)} backups are no longer to be kept"
        yield Finding("EP305", "note", address, what, "etcdplan backup prune SPEC")


def _surplus(policy: BackupTarget, store: Store, now: int) -> int:
    if policy.retention is None:
        return 0
    restored = {one.time for one in store.backups if one.verified == "restore"}
    there = [
        _Dated(f"{number}", time, "restore" if time in restored else "checksum")
        for number, time in enumerate(store.times)
    ]
    why = reasons_to_keep(there, policy.retention, now=now, max_age=policy.max_age)
    return sum(not reasons for reasons in why.values())


def cited(plan: Plan) -> Iterator[str]:
    """Say what backup a plan rests on that takes something away; nothing when it takes one first."""
    state, view = plan.state, View(plan.target, plan.state)
    wanted = wanted_backup(view) if view.restore is None else last_wanted(view)
    destructive = any(planned.step.destructive for planned in plan.steps)
    if wanted is None or not destructive or any(planned.step.kind == wanted.kind for planned in plan.steps):
        return
    there = wanted.there(state)
    if there is None or wanted.effects(state):
        what = "No backup" if view.restore is None else "No last backup of what is replaced"
        yield f"{what} is taken first: nobody serves who could give one to rely on."
        return
    place, backup = there
    how = "restored on trial" if backup.verified == "restore" else "not restored on trial"
    yield (
        f"What is taken away can be had back from {backup.name} in {place} (revision {backup.revision}, {how}), "
        f"{told(state.now - backup.time)} old."
    )
