"""Each named case gives the plan that a person has read and found right."""

import re
from pathlib import Path

import pytest

import etcdplan.planner
from etcdplan.planner.document import PlanDocument, parse
from etcdplan.render.text import NO_CHANGES
from tests.plans.cases import CASES
from tests.plans.golden import HERE, document, inputs, outputs

NOT_REACHED = {"unproven", "no-way"}
"""Refusals that would be mistakes of the planner."""


@pytest.mark.parametrize("name", CASES)
def test_case(name: str, update_golden: bool) -> None:
    directory = HERE / name
    if update_golden:
        directory.mkdir(exist_ok=True)
        _write(directory, inputs(name))
        _write(directory, outputs(document(directory)))
    files = {file.name: file.read_bytes() for file in directory.iterdir()}
    expected = {**inputs(name), **outputs(document(directory))}
    assert sorted(files) == sorted(expected)
    for file, content in expected.items():
        assert files[file].decode() == content.decode(), f"{name}/{file}"


def _write(directory: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (directory / name).write_bytes(content)


def _plans() -> dict[str, PlanDocument]:
    return {name: parse((HERE / name / "plan.json").read_bytes(), name) for name in CASES}


def test_no_case_is_left_over() -> None:
    assert {path.parent.name for path in HERE.glob("*/spec.yaml")} == set(CASES)


def test_a_case_refuses_exactly_when_its_name_says_so() -> None:
    for name, plan in _plans().items():
        assert bool(plan.refusals) == name.startswith("refused-"), name


def test_every_refusal_has_a_case() -> None:
    """The codes are read from the rules' source, so that a new one is noticed."""
    planner = Path(etcdplan.planner.__file__).parent
    source = "\n".join(path.read_text() for path in sorted(planner.rglob("*.py")))
    codes = set(re.findall(r'Refusal\(\s*"([a-z-]+)"', source))
    assert len(codes) > 15
    shown = {refusal.code for plan in _plans().values() for refusal in plan.refusals}
    assert shown == codes - NOT_REACHED


def test_no_changes_is_said_exactly_when_there_are_none() -> None:
    """`plan --detailed-exitcode` ends with 2 when `changes` is not empty; text and exit code must not disagree."""
    for name, plan in _plans().items():
        for file in ("plan.txt", "plan.md"):
            says_none = NO_CHANGES in (HERE / name / file).read_text()
            assert says_none == (not plan.changes and not plan.refusals), (name, file)
        assert bool(plan.changes) == bool(plan.steps) or plan.refusals, name
