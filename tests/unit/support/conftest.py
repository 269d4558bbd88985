import pytest

from tests.support.fake_world import FakeWorld
from tests.support.scenarios import (
    founded,
)
from tests.unit.support.by_hand import Operator


@pytest.fixture
def world() -> FakeWorld:
    return founded()


@pytest.fixture
def operator(world: FakeWorld) -> Operator:
    return Operator(world)
