"""A sample of the faults of `tests/evidence/host_faults.py`, one after the other on one cluster."""

from pathlib import Path

import pytest

from tests.evidence.host_fault_cases import CASES
from tests.support.trial import Trials

pytestmark = [pytest.mark.bed, pytest.mark.timeout(900)]

SAMPLE = (
    ("F8-S7", "loses power for 5 s"),
    ("F11-S13", "not even root may change the unit's file"),
    ("hostile-S7", "a forged journal; the run is killed"),
)


def test_faults_in_the_middle_are_survived_and_nothing_is_lost(tmp_path: Path) -> None:
    by_name = {(case.name, case.what): case for case in CASES}
    with Trials.up(tmp_path / "fleet") as trials:
        for one in SAMPLE:
            trial = trials.once(by_name[one])
            assert trial.wrong == "", one
