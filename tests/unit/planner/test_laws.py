"""Every law on thousands of generated specs and states, and on all cuts and all hidden facts of a few.

A failure names its seed: `draw_pair(seed)` makes the case again. `ETCDPLAN_CASES` asks for more cases a chunk.
"""

import os

import pytest

from tests.support.generators import pairs
from tests.unit.planner.law_case import Case
from tests.unit.planner.laws import LAWS, cuts, hidden

CHUNKS = 12
CASES = int(os.environ.get("ETCDPLAN_CASES", "200"))


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_every_law_holds(chunk: int) -> None:
    broken = []
    for pair in pairs(chunk * CASES, CASES):
        case = Case(pair)
        broken += [
            f"seed {pair.seed}, {law.__name__}: {problem}\n    {'; '.join(pair.story)}"
            for law in LAWS
            for problem in law(case)
        ]
    assert not broken, f"{len(broken)} breaches:\n" + "\n".join(broken[:12])


@pytest.mark.parametrize("first", [50_000, 50_015])
def test_every_cut_of_a_plan_leads_to_its_end(first: int) -> None:
    for pair in pairs(first, 15):
        assert not list(cuts(Case(pair), most=1000)), pair.story


@pytest.mark.parametrize("first", [60_000, 60_020])
def test_every_fact_may_be_hidden(first: int) -> None:
    for pair in pairs(first, 20):
        assert not list(hidden(Case(pair), most=1000)), pair.story
