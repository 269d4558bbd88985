"""The files of a case: what goes in (`spec.yaml`, `live.json`) and what a reader gets."""

import json
from pathlib import Path

import yaml

from etcdplan.diff.target import build_target
from etcdplan.model.saved import dump_state, load_state
from etcdplan.planner.document import PlanDocument, dump, to_document
from etcdplan.planner.unroll import unroll
from etcdplan.render.markdown import plan_markdown
from etcdplan.render.text import plan_text
from etcdplan.spec.load import load_spec, spec_digest
from tests.plans.cases import CASES
from tests.plans.clusters import CA

HERE = Path(__file__).parent


def inputs(name: str) -> dict[str, bytes]:
    """Return the input files of a case, as `cases.py` makes them."""
    spec, state = CASES[name]()
    comment = (CASES[name].__doc__ or name.replace("-", " ").capitalize() + ".").strip()
    text = yaml.safe_dump(spec, sort_keys=False, default_flow_style=None, width=100)
    live = json.dumps(dump_state(state), separators=(",", ":"))
    return {"spec.yaml": f"# {comment}\n{text}".encode(), "live.json": live.encode() + b"\n"}


def document(directory: Path) -> PlanDocument:
    """Plan from the input files that lie in a directory, as `plan --live` does."""
    loaded = load_spec(directory / "spec.yaml")
    state = load_state((directory / "live.json").read_bytes(), "live.json")
    plan = unroll(build_target(loaded.spec, ca=CA), state)
    return to_document(plan, spec_digest(loaded.spec), spec_path="spec.yaml")


def outputs(plan: PlanDocument) -> dict[str, bytes]:
    """Return what a plan is shown as."""
    text = plan_text(plan, color=False, saved_to="plan.json")
    return {
        "plan.json": dump(plan),
        "plan.txt": text.encode(),
        "plan.md": plan_markdown(plan).encode(),
    }
