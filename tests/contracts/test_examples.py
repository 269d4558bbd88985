"""Every example is valid, and no more unwise than its own comment says."""

from pathlib import Path

import pytest

from etcdplan.diff.target import build_target
from etcdplan.model.state import Host, State
from etcdplan.planner.document import parse
from etcdplan.planner.unroll import unroll
from etcdplan.spec.lint import lint
from etcdplan.spec.load import load_spec

EXAMPLES = Path(__file__).parents[2] / "examples"
FINDINGS = {
    "five-members-own.yaml": ["EP114"],
    "from-archive.yaml": ["EP122", "EP124"],
    "load-balancer.yaml": ["EP122", "EP124"],
    "single-member.yaml": ["EP102", "EP124"],
    "three-members.yaml": ["EP122", "EP124"],
}


def test_all_examples_are_covered() -> None:
    assert sorted(path.name for path in EXAMPLES.glob("*.yaml")) == sorted(FINDINGS)


@pytest.mark.parametrize(("name", "codes"), FINDINGS.items())
def test_example(name: str, codes: list[str]) -> None:
    loaded = load_spec(EXAMPLES / name)
    assert loaded.spec.metadata.name == name.removesuffix(".yaml")
    assert [finding.code for finding in lint(loaded)] == codes


@pytest.mark.parametrize("name", FINDINGS)
def test_an_example_plans(name: str) -> None:
    target = build_target(load_spec(EXAMPLES / name).spec, ca="c0ffee" * 10 + "c0de")
    plan = unroll(target, State({host: Host(host) for host in target.hosts()}))
    assert plan.steps
    assert not plan.refusals
    assert not unroll(target, plan.steps[-1].after).steps


def test_the_sample_plan_is_what_the_readme_shows() -> None:
    case = Path(__file__).parents[1] / "plans" / "replace-disk-gone"
    sample = (EXAMPLES / "plan.json").read_bytes()
    assert sample == (case / "plan.json").read_bytes()
    assert parse(sample, "plan.json").steps
    text = (case / "plan.txt").read_text().split("\nPlan digest")[0].rstrip()
    assert f"```\n{text}\n```" in (EXAMPLES.parent / "README.md").read_text()
