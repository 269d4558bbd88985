"""The generators reach every rule, every kind of step and every refusal; what they never reach, no law tests.

Seeds 0 to 1999, as it was when this was written: 59 % plans with steps, 37 % refused, 4 % with nothing to do.
Steps of rules: certificates 3998, seal 2557, start_founders 1687, trust 1667, final 1154, start_newcomer 537,
promote_newcomer 537, add_missing 519, start_members 317, remove_lost 308, retire_lost 306, rolling_change 281,
retire_removed 259, remove_leaving 230, off_the_lost 226, off_the_leaving 138, start_down 84, returned 39,
host_of_newcomer 31, remove_learners 20. Refusals: host-unreachable 184, quorum-lost 77, all-data-gone 77,
unobserved 73, foreign-unstarted 56, foreign-data 54, not-ours 43, two-clusters 40, version-change 31, other-cluster 25,
nobody-answers 22, authority-change 20, clients-move 16, data-moves 15, does-not-serve 13, existing-data 13,
host-in-use 10, disk-full 9, api-server-in-use 9, outage 9, scheme-change 8, spec-changed 7, api-server-not-listed 7,
founding-broken 6, does-not-start 3.
"""

import ast
import importlib
import pkgutil
from collections import Counter
from pathlib import Path

import etcdplan.planner
import etcdplan.steps
from etcdplan.planner.policy import ABANDON, RESTORE, RULES, propose
from etcdplan.planner.rules import backups
from etcdplan.planner.unroll import unroll
from etcdplan.steps.base import Step
from tests.support.generators import pairs

CASES = 2000
MISTAKES = {"unproven", "no-way"}
"""The codes of refusals that would be mistakes of the planner."""


def refusal_codes() -> set[str]:
    """Return every code that stands in the planner's source."""
    codes = set()
    for module in Path(etcdplan.planner.__path__[0]).rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Refusal":
                code = node.args[0]
                assert isinstance(code, ast.Constant), f"{module}:{node.lineno}: a code that is no literal"
                codes.add(str(code.value))
    return codes


def step_kinds() -> set[str]:
    """Return the kind of every step there is."""
    for module in pkgutil.iter_modules(etcdplan.steps.__path__):
        importlib.import_module(f"etcdplan.steps.{module.name}")
    kinds, classes = set(), [Step]
    while classes:
        one = classes.pop()
        classes += one.__subclasses__()
        if "kind" in vars(one):
            kinds.add(one.kind)
    return kinds


def test_everything_is_reached() -> None:
    rules: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    codes: Counter[str] = Counter()
    for pair in pairs(0, CASES):
        plan = unroll(pair.target, pair.state)
        rules.update(planned.rule.__name__ for planned in plan.steps)
        kinds.update(planned.step.kind for planned in plan.steps)
        codes.update(refusal.code for refusal in plan.refusals)
        if plan.refusals:
            rule, _ = propose(pair.target, plan.steps[-1].after if plan.steps else plan.state)
            rules.update([rule.__name__] if rule else [])
    print(rules, kinds, codes, sep="\n")
    lists = (*RULES, *RESTORE, *ABANDON, backups.before_destruction)
    assert {rule.__name__ for rule in lists} == set(rules)
    assert step_kinds() == set(kinds)
    assert refusal_codes() - MISTAKES == set(codes)
