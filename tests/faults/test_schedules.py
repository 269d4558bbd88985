"""Random schedules, as many as fit into the time.

`ETCDPLAN_FUZZ_SECONDS` gives them more time, `ETCDPLAN_FUZZ_FIRST` other seeds; `ETCDPLAN_FUZZ_SEED` replays one.
"""

import os
import time
from collections import Counter

import pytest

from tests.faults.schedules import Schedule

SECONDS = float(os.environ.get("ETCDPLAN_FUZZ_SECONDS", "10"))
FIRST = int(os.environ.get("ETCDPLAN_FUZZ_FIRST", "0"))
PARTS = 2


@pytest.mark.timeout(SECONDS + 120)
@pytest.mark.parametrize("part", range(PARTS))
def test_random_schedules_converge_or_are_justly_refused(part: int) -> None:
    """A failure prints its seed and its story."""
    began, seed = time.monotonic(), FIRST + part
    outcomes: Counter[str] = Counter()
    runs = 0
    while time.monotonic() - began < SECONDS:
        schedule = Schedule(seed).play()
        outcomes[schedule.outcome] += 1
        runs += schedule.runs
        seed += PARTS
    spent = time.monotonic() - began
    print(
        f"{outcomes.total()} schedules, {runs} runs, {outcomes.total() / spent:.1f} schedules/s: {outcomes}"
    )
    assert outcomes["converged"] > outcomes.total() / 2


@pytest.mark.parametrize("seed", [7, 11, int(os.environ.get("ETCDPLAN_FUZZ_SEED", "13"))])
def test_a_schedule_is_its_seed(seed: int) -> None:
    """Played twice it tells the same story."""
    assert Schedule(seed).play().story == Schedule(seed).play().story
