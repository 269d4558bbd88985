"""The specs that cases share, and the list of all cases."""

from collections.abc import Callable
from typing import Any, TypeAlias

from etcdplan.model.state import State
from tests.plans.clusters import (
    api_servers,
    members,
    spec_of,
)

Case: TypeAlias = tuple[dict[str, Any], State]
CASES: dict[str, Callable[[], Case]] = {}

DAY = 86_400
THREE = spec_of(members(1, 2, 3), api_servers(3))
FIVE = spec_of(members(1, 2, 3, 4, 5), api_servers(3))
STACKED = spec_of(members(1, 2, 3), api_servers(3, net=0), connect="own")


def case(make: Callable[[], Case]) -> Callable[[], Case]:
    """Register a case under its function's name."""
    CASES[make.__name__.replace("_", "-")] = make
    return make
