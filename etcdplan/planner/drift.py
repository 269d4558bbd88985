"""What differs from a spec and what falls short of it, for a job that runs every night."""

from typing import Final

from etcdplan.planner.document import FindingEntry, PlanDocument

UNSEEN: Final = frozenset({"EP306"})
"""Codes of what was needed and could not be observed."""


def findings(document: PlanDocument) -> list[FindingEntry]:
    """Return what counts as drift: errors and warnings of what is; notes, and what is unwise in the spec, do not."""
    return [one for one in document.findings if one.severity != "note" and not one.code.startswith("EP1")]


def exit_code(document: PlanDocument) -> int:
    """Return 8 when something that is needed could not be observed, 2 when anything differs or falls short, else 0."""
    found = findings(document)
    unseen = any(refusal.exit_code == 8 for refusal in document.refusals)
    unseen |= any(change.action == "unknown" for change in document.changes)
    if unseen or any(one.code in UNSEEN for one in found):
        return 8
    return 2 if document.changes or document.refusals or found else 0
