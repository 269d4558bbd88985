"""What can go wrong, and the exit code of each.

EtcdplanError            1   an error; the base of all
├── SpecError            1   the spec, or a file that it names, is not valid
├── StaleError           3   the plan no longer fits reality, or its digest differs
├── LockHeldError        4   another apply holds the cluster
├── RefusedError         5   a guard refuses; nothing was done
├── StoppedError         6   stopped or failed at a checkpoint; state known, resumable
├── OutcomeUnknownError  7   an effect's outcome could not be determined
├── UnobservedError      8   a host or fact that is needed could not be observed
├── RolledBackError      9   a change did no good and was taken back
└── UsageError          64   the command line makes no sense, or the plan was not approved
"""

from typing import Final


class EtcdplanError(Exception):
    """Base of every error that a user may see: what is wrong, and what to do.

    `message` is one or more plain sentences; `hint` says the remedy and may be empty.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class SpecError(EtcdplanError):
    """The spec, or a file that it names, is not valid."""


class StaleError(EtcdplanError):
    """The plan no longer fits reality or its approval."""

    exit_code = 3


class LockHeldError(EtcdplanError):
    """Another apply holds the cluster's lock."""

    exit_code = 4


class RefusedError(EtcdplanError):
    """A guard refuses; nothing was done."""

    exit_code = 5


class StoppedError(EtcdplanError):
    """Stopped or failed at a checkpoint; the state is known and the run can be resumed."""

    exit_code = 6


class OutcomeUnknownError(EtcdplanError):
    """An effect was sent and its outcome could not be determined."""

    exit_code = 7


class UnobservedError(EtcdplanError):
    """A host or a fact that is needed could not be observed."""

    exit_code = 8


class RolledBackError(EtcdplanError):
    """A change did no good; the host has the former configuration back."""

    exit_code = 9


class UsageError(EtcdplanError):
    """The command line makes no sense, or the plan was not approved."""

    exit_code = 64


EXIT_CODES: Final[dict[int, str]] = {
    0: "done, or no changes",
    1: "error, or an invalid spec",
    2: "findings: changes present (plan with --detailed-exitcode); drift; no backup (list); quorum lost (status)",
    3: "plan stale, or its digest differs",
    4: "lock held by another apply",
    5: "refused by a guard",
    6: "stopped or failed at a checkpoint; state known, resumable",
    7: "outcome of an effect unknown",
    8: "a host or fact that is needed could not be observed",
    9: "rolled back",
    64: "usage error, or not approved",
    130: "interrupted twice",
}
