"""Every example is valid, and no more unwise than its own comment says."""

import os
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from etcdplan.apply.frozen import LONGEST
from etcdplan.cli.app import run
from etcdplan.cli.hooks import CONFIG_VARIABLE, Hooks
from etcdplan.diff.target import build_target
from etcdplan.model.state import Host, State
from etcdplan.planner.document import parse
from etcdplan.planner.unroll import unroll
from etcdplan.spec.lint import lint
from etcdplan.spec.load import load_spec
from etcdplan.spec.schedule import parse as parse_schedule

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


def _commands(value: object) -> Iterator[str]:
    """Yield every command of etcdplan in an example for a CI."""
    if isinstance(value, str) and value.startswith("etcdplan "):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _commands(inner)


@pytest.mark.parametrize("name", ["github-actions.yml", "gitlab-ci.yml"])
def test_what_a_ci_runs_is_there(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every command exists and knows its options, and what is scheduled is a schedule."""
    document = yaml.safe_load((EXAMPLES / "ci" / name).read_text())
    commands = [shlex.split(one)[1:] for one in _commands(document)]
    assert {" ".join(words[:2]) for words in commands} == {
        "backup run",
        "backup prune",
        "drift clusters/prod.yaml",
    }
    for words in commands:
        verbs = [word for word in words if word.isalpha()]
        assert run([*verbs, "--help"]) == 0
        known = capsys.readouterr().out
        assert all(word.split("=")[0] in known for word in words if word.startswith("--"))
    for one in document.get(True, {}).get("schedule", ()):  # YAML 1.1 reads `on` as true.
        assert parse_schedule(one["cron"])


def test_the_hook_for_volumes_may_take_no_longer_than_a_member_is_frozen() -> None:
    hooks = Hooks.here({CONFIG_VARIABLE: str(EXAMPLES / "volume/config.yaml")})
    hook = hooks.require("copy-volume")
    assert hook.timeout <= 1000 * LONGEST
    assert os.access(EXAMPLES / "volume" / Path(hook.command[0]).name, os.X_OK)
