"""apply dies by SIGKILL at one boundary after the other, on real processes, and others take it to its end.

Each command goes on from what the one before left, on a machine that knows nothing, and dies at its next boundary of
the phase: before an effect, after it and before the journal has its result, in the middle of a journal's line on one
of the hosts. Independent runs, a death each, are in `tests/evidence/`.
"""

from pathlib import Path

import pytest

from tests.support.cli import Lab
from tests.support.crashes import (
    BOOTSTRAP,
    PHASES,
    REPLACEMENT,
    SCALE_UP,
    Crashes,
    End,
    Scenario,
    chain,
    check_end,
    end,
)

pytestmark = [pytest.mark.host, pytest.mark.timeout(900)]

COPIES = {BOOTSTRAP.name: 4, REPLACEMENT.name: 4, SCALE_UP.name: 6}
"""Where the journal is kept: on the runner and on the hosts."""


@pytest.fixture(scope="module", params=[BOOTSTRAP, REPLACEMENT, SCALE_UP], ids=str)
def calm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Scenario, End]:
    """A scenario, and how an undisturbed run of it ends."""
    scenario: Scenario = request.param
    with Lab(tmp_path_factory.mktemp("calm")) as lab:
        spec = scenario.begin(lab)
        lab.apply(spec)
        return scenario, end(lab, spec)


@pytest.mark.parametrize("phase", PHASES)
def test_a_chain_of_deaths_ends_where_an_undisturbed_run_does(
    tmp_path: Path, calm: tuple[Scenario, End], phase: str
) -> None:
    scenario, undisturbed = calm
    with Lab(tmp_path) as lab:
        crashes = Crashes(lab, scenario.begin(lab))
        with lab.writers(*scenario.hosts) as writers:
            for _ in chain(crashes, phase, COPIES[scenario.name]):
                pass
            check_end(crashes, undisturbed, writers)
        lab.settled(crashes.spec)
    # Far fewer mean that the deaths did not come one effect after the other.
    assert len(crashes.kills) >= {"bootstrap": 15, "replacement": 10, "scaling 3→5": 20}[scenario.name]
