"""Drift: what differs, what falls short, and whether the spec or the cluster has changed."""

import json
from typing import Any, Final

from etcdplan.apply.last_applied import LastApplied, Since
from etcdplan.planner.document import PlanDocument
from etcdplan.planner.drift import findings
from etcdplan.render.text import PlanText

FORMAT_VERSION: Final = "1.0"
NO_DRIFT: Final = "No drift. The cluster is as the specification says."

_SINCE: Final = {
    Since.CLUSTER: "The spec is the one that was last applied ({begun}): what differs has drifted.",
    Since.SPEC: "The spec has changed since the last apply ({begun}); the cluster may have drifted as well.",
    Since.UNFINISHED: "The newest apply (begun {begun}) has not ended: what differs may be what it left.",
    Since.UNKNOWN: "No apply is remembered, so the spec may have changed, the cluster, or both.",
}


def drift_text(document: PlanDocument, applied: LastApplied, *, color: bool, width: int = 100) -> str:
    """Return it as text, ending in a newline."""
    shown = document.model_copy(update={"findings": findings(document)})
    nothing = not (shown.changes or shown.findings or shown.refusals)
    said = "" if nothing else _SINCE[applied.since].format(begun=applied.begun)
    return PlanText(shown, color=color, width=width).drift(said, NO_DRIFT)


def drift_json(document: PlanDocument, applied: LastApplied) -> str:
    """Return it in JSON terms; changes and findings have the form that they have in a plan."""
    body: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "cluster": document.cluster.model_dump(),
        "spec_digest": document.spec_digest,
        "since": {
            "changed": applied.since.value,
            "run": applied.run or None,
            "begun": applied.begun or None,
        },
        "changes": [change.model_dump() for change in document.changes],
        "findings": [one.model_dump() for one in findings(document)],
        "refusals": [refusal.model_dump() for refusal in document.refusals],
        "notes": document.notes,
    }
    return json.dumps(body, indent=2, ensure_ascii=True) + "\n"
