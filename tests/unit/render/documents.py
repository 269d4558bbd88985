"""Small plan documents, made by hand."""

from typing import Any

from etcdplan.planner.document import PlanDocument


def step(kind: str, subject: str, **differs: Any) -> dict[str, Any]:
    """Return a step of a cluster with three healthy voters; `stand` is (healthy, voters, tolerates before, after).

    `during`, when it is less than these, is what the cluster tolerates at worst.
    """
    healthy, voters, before, after = differs.pop("stand", (3, 3, 1, 1))
    during = differs.pop("during", min(before, after))
    return {
        "id": f"{kind}:{subject}:0123456789ab",
        "kind": kind,
        "subject": subject,
        "params": {},
        "preconditions": {},
        "group": 1,
        "heading": "Do it",
        "summary": f"{kind} {subject}",
        "reason": "it is wanted",
        "destructive": False,
        "restarts": [],
        "quorum": {
            "voters": voters,
            "healthy": healthy,
            "needed": voters // 2 + 1,
            "tolerates_before": before,
            "tolerates_during": during,
            "tolerates_after": after,
        },
        **differs,
    }


def change(address: str, action: str = "update", **differs: Any) -> dict[str, Any]:
    """Return a change without values."""
    return {"address": address, "action": action, "before": None, "after": None, "reason": "why", **differs}


def refusal(**differs: Any) -> dict[str, Any]:
    """Return a refusal."""
    whole = {"code": "quorum-lost", "subject": "cluster", "message": "Quorum is lost.", "remedy": "Mend it."}
    return {**whole, "exit_code": 5, **differs}


def document(**differs: Any) -> PlanDocument:
    """Return a plan for a cluster of three healthy voters."""
    facts = {f"member/https://10.0.0.{n}:2380": f"member{n}, voter, serves" for n in (1, 2, 3)}
    return PlanDocument.model_validate(
        {
            "cluster": {"name": "prod", "id": "b98058b047667705"},
            "spec_digest": "sha256:aa",
            "spec_path": "prod.yaml",
            "digest": "sha256:bb",
            "checksum": "sha256:cc",
            "tolerates": 1,
            "changes": [],
            "refusals": [],
            "notes": [],
            "steps": [],
            "facts": facts,
            **differs,
        }
    )
