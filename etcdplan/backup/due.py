"""Whether a scheduled backup is still to be taken: so a second host takes over when the first is silent. Pure."""

from etcdplan.model.backups import AHEAD, Stores
from etcdplan.spec.schedule import Schedule


def is_due(schedule: Schedule, stores: Stores, now: int) -> bool:
    """Whether some destination that answers has no whole backup since the schedule's last time; or none answers.

    Two hosts that ask at once both take one, which does no harm. One from the future does not count.
    """
    last = schedule.last_before(now)
    seen = [fact.value for fact in stores.values() if fact.value is not None]
    return not seen or any(
        not any(one.whole and last <= one.time <= now + AHEAD for one in store.backups) for store in seen
    )
