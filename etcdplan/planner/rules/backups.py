"""What takes something away rests on a backup, where the spec has a policy for them."""

from typing import Final

from etcdplan.diff.view import View
from etcdplan.steps.take_backup import TakeBackup

FRESH: Final = 86_400
"""Seconds that a backup may be old when something is taken away, and the policy says nothing of age."""
LAST: Final = 900
"""Seconds that the last backup of a cluster may be old when a restore stops its members; no API server writes then."""


def before_destruction(view: View) -> TakeBackup | None:
    """Have a backup to fall back on."""
    wanted = wanted_backup(view)
    if wanted is None or view.membership is None or not view.quorum.holds:
        return None  # Nobody can give a snapshot; what is done now brings that back.
    return wanted if wanted.effects(view.state) else None


def wanted_backup(view: View) -> TakeBackup | None:
    """Return the step after which there is a backup to rest on; None without a policy."""
    policy = view.target.backup
    if policy is None:
        return None
    age = FRESH if policy.max_age is None else policy.max_age
    return TakeBackup(view.cluster_id, policy.destinations, policy.verify, age)


def last_backup(view: View) -> TakeBackup | None:
    """Have a last backup of what is about to be replaced."""
    wanted, membership = last_wanted(view), view.state.membership.value
    if wanted is None or membership is None or not view.quorum.holds:
        return None
    if view.state.corruption is not None and view.right is None:
        return None  # It is not known whose data are right.
    if membership.cluster_id != view.restoring.replaces:
        return None  # What answers is the restored cluster already.
    return wanted if wanted.effects(view.state) else None


def last_wanted(view: View) -> TakeBackup | None:
    """Return the step after which what a restore replaces can be had back, as far as somebody can still give it.

    It is not restored on trial: what is wrong with the data may be why another snapshot takes their place.
    """
    policy, restore = view.target.backup, view.restoring
    if policy is None:
        return None
    return TakeBackup(restore.replaces, policy.destinations, "checksum", LAST, besides=restore.snapshot)
