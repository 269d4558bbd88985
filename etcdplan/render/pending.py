"""What applies have left on the hosts, or do there now, in a line each."""

from collections.abc import Iterator
from typing import Any, Final

from etcdplan.apply.holder import Life
from etcdplan.apply.pending import Pending

_LIFE: Final = {
    Life.RUNNING: "",
    Life.FROZEN: "; that process is stopped (SIGSTOP)",
    Life.DEAD: "; that process is dead, and the next apply takes the lock over",
    Life.ELSEWHERE: "; whether that process lives cannot be seen from here",
}


def pending(found: Pending) -> dict[str, Any]:
    """Return it in JSON terms."""
    run = found.run
    return {
        "locks": [
            {
                "holder": str(held.holder),
                "host": held.holder.host,
                "pid": held.holder.pid,
                "acquired": held.acquired,
                "process": held.life.value,
            }
            for held in found.locks
        ],
        "unfinished_run": None
        if run is None
        else {
            "id": run.start.run,
            "begun": run.records[0].time,
            "steps": sum(map(len, run.start.groups)),
            "steps_begun": list(run.begun),
            "stopped": run.stopped,
        },
        "journal_damaged": found.damaged or None,
    }


def pending_lines(found: Pending, spec: str) -> Iterator[str]:
    """Yield nothing when no apply left anything. `spec` is for the command to type next, fit for a shell."""
    for held in found.locks:
        yield f"Locked by {held.holder} since {held.acquired}{_LIFE[held.life]}."
    run = found.run
    if run is not None:
        begun = f"{len(dict.fromkeys(run.begun))} of {sum(map(len, run.start.groups))} steps begun"
        what = f"{run.start.run}, begun {run.records[0].time}, {begun}"
        if found.under_way:
            yield f"Run {what}, is under way."
        else:
            yield f"Unfinished run {what}; finish it with: etcdplan apply --resume {spec}"
    if found.damaged:
        yield from found.damaged.splitlines()
