"""What takes something away rests on a backup, where the spec has a policy for them."""

from typing import Final

from etcdplan.diff.view import View
from etcdplan.steps.take_backup import TakeBackup

FRESH: Final = 86_400
"""Seconds that a backup may be old when something is taken away, and the policy says nothing of age."""


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
