"""What a short look may conclude."""

import pytest

from etcdplan.apply.ready import GLANCE, look
from etcdplan.model.state import Host, State
from etcdplan.observe.collect import PATIENCE


class Still:
    """A clock that stands."""

    def time(self) -> float:
        return 0.0

    def monotonic(self) -> float:
        return 0.0

    def sleep(self, seconds: float) -> None:
        raise AssertionError(seconds)


@pytest.mark.parametrize(
    ("rests_on", "asked"), [(("10.0.0.1",), [GLANCE, PATIENCE]), (("10.0.0.2",), [GLANCE]), ((), [GLANCE])]
)
def test_a_host_that_matters_is_not_unreachable_after_a_glance(
    rests_on: tuple[str, ...], asked: list[float]
) -> None:
    given: list[float] = []

    def observe(timeout: float) -> State:
        given.append(timeout)
        slow = Host("10.0.0.1", unreachable="too slow" if timeout < PATIENCE else "")
        return State({"10.0.0.1": slow, "10.0.0.2": Host("10.0.0.2")})

    look(observe, Still(), 0.0, rests_on)
    assert given == asked
