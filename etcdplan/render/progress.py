"""A run of apply, one line an event."""

from etcdplan.apply.events import (
    Event,
    Interrupting,
    Note,
    RunDone,
    RunStarted,
    RunStopped,
    StepDone,
    StepStarted,
    StepWaiting,
)
from etcdplan.render.printable import counted, paint, printable


def event_text(event: Event, *, color: bool) -> str:
    """Return an event as a line, without its end."""
    match event:
        case RunStarted():
            cluster, run = printable(event.cluster), printable(event.run)
            return f"Applying {counted(event.steps, 'step')} to cluster {cluster} (run {run})."
        case StepStarted():
            subject = event.id.partition(":")[2].rpartition(":")[0]
            what = printable(f"{subject}: {event.summary}" if subject else event.summary)
            return f"{_place(event.index, event.total, color)} {what}"
        case StepWaiting():
            what = f"still waiting for {printable(event.waiting_for)} [{event.elapsed:.0f}s elapsed]"
            return f"{_place(event.index, event.total, color)} {what}"
        case StepDone():
            return f"{_place(event.index, event.total, color)} done after {event.seconds:.0f}s"
        case Note():
            return f"Note: {printable(event.text)}"
        case Interrupting(again=False):
            return paint(
                "Interrupt received. Stopping at the next checkpoint; a second interrupt stops at once.",
                "bold",
                color=color,
            )
        case Interrupting():
            return paint(
                "Two interrupts received. Stopping at once; the outcome of the current step may be unknown.",
                "bold",
                "red",
                color=color,
            )
        case RunDone():
            text = f"Apply complete! Steps: {event.done} done, in {event.seconds:.0f}s."
            return paint(text, "bold", "green", color=color)
        case RunStopped():
            text = f"Apply stopped: {printable(event.reason)} Steps: {event.done} done, {event.remaining} not done."
            return paint(text, "bold", "red", color=color)


def _place(index: int, total: int, color: bool) -> str:
    return paint(f"[{index}/{total}]", "dim", color=color)
