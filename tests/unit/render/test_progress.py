"""A run of apply, line by line."""

import re

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
from etcdplan.render.progress import event_text

RUN: list[tuple[Event, str]] = [
    (RunStarted("00000012-ab", "prod", 11), "Applying 11 steps to cluster prod (run 00000012-ab)."),
    (
        StepStarted(4, 11, "add-member:member/member4:0123456789ab", "add member4 as a learner"),
        "[4/11] member/member4: add member4 as a learner",
    ),
    (
        StepStarted(5, 11, "trust:trust/fd00::1:0123456789ab", "install the CA certificate on fd00::1"),
        "[5/11] trust/fd00::1: install the CA certificate on fd00::1",
    ),
    (
        StepWaiting(4, 11, "add member4 as a learner", "member4 to be in sync", 20.4),
        "[4/11] still waiting for member4 to be in sync [20s elapsed]",
    ),
    (StepDone(4, 11, "add-member:member/member4:0123456789ab", "add member4", 2.7), "[4/11] done after 3s"),
    (Note("A reply was lost."), "Note: A reply was lost."),
    (
        Interrupting(again=False),
        "Interrupt received. Stopping at the next checkpoint; a second interrupt stops at once.",
    ),
    (
        Interrupting(again=True),
        "Two interrupts received. Stopping at once; the outcome of the current step may be unknown.",
    ),
    (RunDone(11, 41.2), "Apply complete! Steps: 11 done, in 41s."),
    (RunStopped("Interrupted.", 4, 7), "Apply stopped: Interrupted. Steps: 4 done, 7 not done."),
]


def test_each_event_has_its_line() -> None:
    for event, line in RUN:
        assert event_text(event, color=False) == line
        assert re.sub(r"\x1b\[[0-9;]+m", "", event_text(event, color=True)) == line


def test_what_hosts_say_cannot_steer_the_terminal() -> None:
    evil = "\r\x1b[1A\x1b[2Kdone"
    events: list[Event] = [
        RunStarted(evil, evil, 1),
        StepStarted(1, 1, evil, evil),
        StepWaiting(1, 1, evil, evil, 1.0),
        Note(evil),
        RunStopped(evil, 0, 1),
    ]
    for event in events:
        assert event_text(event, color=False).isprintable()
