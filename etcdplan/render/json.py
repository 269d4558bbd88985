"""What programs read: each with a `format_version`, keys in a fixed order, nothing that time changes added."""

import json
from typing import Any, Final

from etcdplan.apply.pending import Pending
from etcdplan.diff.target import Target
from etcdplan.errors import EtcdplanError
from etcdplan.model.state import State
from etcdplan.planner.document import PlanDocument
from etcdplan.render.status import status
from etcdplan.spec.problems import SpecInvalid

FORMAT_VERSION: Final = "1.0"


def plan_json(document: PlanDocument) -> str:
    """Return the plan file itself, fit for a terminal: `planner.document.parse` reads it and the checksum holds."""
    return _json(document.model_dump())


def status_json(state: State, target: Target | None = None, left: Pending | None = None) -> str:
    """Return how the cluster stands, and what applies have left on its hosts, or do."""
    return _dump(status(state, target, left))


def error_json(error: EtcdplanError) -> str:
    """Return what went wrong; for an invalid spec, `problems` with their places."""
    problems = error.problems if isinstance(error, SpecInvalid) else ()
    body = {
        "type": type(error).__name__,
        "message": error.message,
        "hint": error.hint,
        "exit_code": error.exit_code,
        "problems": [
            {
                "path": f"{problem.path}",
                "line": problem.line,
                "column": problem.column,
                "address": problem.address,
                "what": problem.what,
                "remedy": problem.remedy,
            }
            for problem in problems
        ],
    }
    return _dump({"error": body})


def _dump(body: dict[str, Any]) -> str:
    return _json({"format_version": FORMAT_VERSION, **body})


def _json(body: dict[str, Any]) -> str:
    """In ASCII, where every control character is escaped: JSON goes to terminals too."""
    return json.dumps(body, indent=2, ensure_ascii=True) + "\n"
