"""Each monitor sees what it is for; the other tests show that none cries wolf."""

import pytest

from tests.support.fake_world import FakeWorld
from tests.support.scenarios import (
    founded,
)
from tests.unit.support.by_hand import H1, H2, H3, Operator


class TestMonitors:
    """Each sees what it is for; the other tests show that none cries wolf."""

    def seen(self, world: FakeWorld, what: str) -> bool:
        return any(what in violation for violation in world.violations)

    @pytest.mark.parametrize("effect", ["stop", "hold"])
    def test_a_quorum_taken_away(self, world: FakeWorld, operator: Operator, effect: str) -> None:
        world.kill(H3)
        world.settle()
        operator.do(H2, effect, "etcd")
        assert self.seen(world, "lost its quorum")

    def test_a_declared_outage(self, world: FakeWorld, operator: Operator) -> None:
        world.allow_outage = True
        operator.do(H1, "stop", "etcd")
        operator.do(H2, "stop", "etcd")
        assert world.violations == []

    def test_two_members_down_at_once(self) -> None:
        world = founded(members=5)
        operator = Operator(world)
        operator.do(H1, "stop", "etcd")
        operator.do(H1, "start", "etcd")
        assert world.violations == []
        operator.do(H2, "stop", "etcd")
        assert self.seen(world, "2 etcds are down")

    def test_one_after_the_other(self, world: FakeWorld, operator: Operator) -> None:
        for address in (H1, H2, H3):
            operator.do(address, "stop", "etcd")
            operator.do(address, "start", "etcd")
            world.settle(2)
        assert world.violations == []

    def test_what_was_broken_before_is_nobodys_fault(self, world: FakeWorld, operator: Operator) -> None:
        world.kill(H2)
        world.kill(H3)
        world.settle()
        operator.do(H2, "start", "etcd")
        operator.do(H1, "write_record", b"{}")
        assert world.violations == []

    def test_deleted_data(self, world: FakeWorld) -> None:
        before = world.monitors.look(world)
        world.machines[H1].data = None
        world.monitors.judge(world, before, "test")
        assert self.seen(world, "data was deleted")

    def test_the_last_data_with_all_writes(self, world: FakeWorld, operator: Operator) -> None:
        for address in (H1, H2):
            world.kill(address)
            operator.do(address, "set_data_aside")
        assert not self.seen(world, "acknowledged")
        world.kill(H3)
        operator.do(H3, "set_data_aside")
        assert self.seen(world, "no member holds the acknowledged writes")
