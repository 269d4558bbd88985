"""Every example is valid, and no more unwise than its own comment says."""

from pathlib import Path

import pytest

from etcdplan.spec.lint import lint
from etcdplan.spec.load import load_spec

EXAMPLES = Path(__file__).parents[2] / "examples"
FINDINGS = {
    "five-members-own.yaml": ["EP114"],
    "load-balancer.yaml": [],
    "single-member.yaml": ["EP102"],
    "three-members.yaml": [],
}


def test_all_examples_are_covered() -> None:
    assert sorted(path.name for path in EXAMPLES.glob("*.yaml")) == sorted(FINDINGS)


@pytest.mark.parametrize(("name", "codes"), FINDINGS.items())
def test_example(name: str, codes: list[str]) -> None:
    loaded = load_spec(EXAMPLES / name)
    assert loaded.spec.metadata.name == name.removesuffix(".yaml")
    assert [finding.code for finding in lint(loaded)] == codes
