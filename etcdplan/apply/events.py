"""What a run of apply tells whoever watches it. Times are in seconds, `index` counts from 1."""

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class RunStarted:
    """The lock is held and the plan is proven again; `steps` are left to do. First event of a run."""

    run: str
    cluster: str
    steps: int


@dataclass(frozen=True, slots=True)
class StepStarted:
    """A step's intent is journalled and its effects begin. `id` and `summary` are the plan's."""

    index: int
    total: int
    id: str
    summary: str


@dataclass(frozen=True, slots=True)
class StepWaiting:
    """A step is not done yet; `waiting_for` names the fact that is missing, `elapsed` counts from its start."""

    index: int
    total: int
    summary: str
    waiting_for: str
    elapsed: float


@dataclass(frozen=True, slots=True)
class StepDone:
    """A step's effect was observed."""

    index: int
    total: int
    id: str
    summary: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Note:
    """Something worth knowing that is no step, in one or more plain sentences."""

    text: str


@dataclass(frozen=True, slots=True)
class Interrupting:
    """A signal came: the run stops at the next checkpoint, or, when it came `again`, at once."""

    again: bool


@dataclass(frozen=True, slots=True)
class RunDone:
    """Nothing is left to do. Last event of a run that went well."""

    done: int
    seconds: float


@dataclass(frozen=True, slots=True)
class RunStopped:
    """The run ended before its plan did, in a known state. Last event of such a run."""

    reason: str
    done: int
    remaining: int


Event: TypeAlias = (
    RunStarted | StepStarted | StepWaiting | StepDone | Note | Interrupting | RunDone | RunStopped
)
