"""What programs read: versioned, in a fixed order, printable."""

import json
from pathlib import Path

from etcdplan.errors import LockHeldError
from etcdplan.planner.document import parse
from etcdplan.render.json import error_json, plan_json
from etcdplan.spec.problems import Problem, SpecInvalid
from tests.plans.cases import CASES
from tests.plans.golden import HERE


def test_the_plan_is_the_plan_file() -> None:
    for name in CASES:
        plan = parse((HERE / name / "plan.json").read_bytes(), name)
        assert parse(plan_json(plan).encode(), name) == plan


def test_the_plan_cannot_steer_a_terminal_and_keeps_its_text() -> None:
    plan = parse((HERE / "no-changes" / "plan.json").read_bytes(), "no-changes")
    evil = plan.model_copy(update={"notes": ["\x7f\x9b2J\u202e\x1b"]})
    shown = plan_json(evil)
    assert shown.replace("\n", "").isprintable()
    assert json.loads(shown)["notes"] == evil.notes


def test_an_error_carries_its_exit_code_and_problems() -> None:
    body = json.loads(error_json(LockHeldError("Somebody applies.", hint="Wait.")))
    assert body == {
        "format_version": "1.0",
        "error": {
            "type": "LockHeldError",
            "message": "Somebody applies.",
            "hint": "Wait.",
            "exit_code": 4,
            "problems": [],
        },
    }
    problem = Problem(Path("prod.yaml"), 12, 5, "spec.members", "is empty", "name one")
    [entry] = json.loads(error_json(SpecInvalid([problem])))["error"]["problems"]
    assert entry == {
        "path": "prod.yaml",
        "line": 12,
        "column": 5,
        "address": "spec.members",
        "what": "is empty",
        "remedy": "name one",
    }
