"""The fake etcd behaves as documentation and experience say; a test on real etcd compares the two."""

from collections.abc import Callable

import pytest

from etcdplan.transport.errors import EtcdOutcomeUnknown, EtcdRejected, EtcdUnreachable, Reason
from tests.support.fake_etcd import founded_id, founder_id
from tests.support.fake_world import FakeWorld
from tests.support.scenarios import (
    founded,
    fresh,
    make_spec,
    target_of,
)
from tests.unit.support.by_hand import H1, H2, H3, H4, Operator, ask, client, peer


class TestFounding:
    def test_a_founded_cluster_is_what_the_spec_wants(self, world: FakeWorld) -> None:
        target = target_of(make_spec())
        report = world.host(H2).inspect(timeout=1)
        settings = report.etcd.settings.get() or {}
        assert {**settings, **target.members[peer(H2)].settings} == settings
        assert settings["initial-cluster-state"] == "existing"
        assert world.serving() == [H1, H2, H3]
        status = ask(world, H2)
        assert status.cluster_id == target.founding_id
        assert status.serves
        assert status.confirmed
        assert [member.name for member in status.members] == ["member1", "member2", "member3"]
        assert world.writes_lost() == 0

    def test_the_ids_are_those_of_real_etcd(self) -> None:
        """Seen on etcd 3.6.16, `--initial-cluster-token token1`, peer URLs http://127.33.44.55:2380 and .56, .57."""
        ids = {end: founder_id(f"http://127.33.44.{end}:2380", "token1") for end in (55, 56, 57)}
        assert ids == {55: 0x4242216BF6F94803, 56: 0x3F5A2DEA860D40EC, 57: 0xD8EFE29D512A0FD}
        assert founded_id(ids.values()) == 0x843BAFE691903D80

    def test_a_minority_founds_nothing(self) -> None:
        world = founded(members=3)
        machines = dict(world.machines)
        world = fresh(make_spec())
        for address in (H1, H2):
            assert ask(world, address) is None
            world.machines[address].etcd.settings = {
                **(machines[address].etcd.settings or {}),
                "initial-cluster-state": "new",
            }
            world.machines[address].pairs = machines[address].pairs
            world.machines[address].bundle = machines[address].bundle
        world.start(H1)
        world.settle(5)
        assert ask(world, H1) is None
        assert world.host(H1).inspect(timeout=1).data.get() is not None
        world.start(H2)
        world.settle(5)
        assert world.serving() == [H1, H2]
        assert [m.client_urls for m in ask(world, H1).members] == [(client(H1),), (client(H2),), ()]

    def test_new_is_refused_by_those_who_know_the_member(self, world: FakeWorld) -> None:
        world.lose_disk(H3)
        settings = world.machines[H3].etcd.settings or {}
        world.machines[H3].etcd.settings = {**settings, "initial-cluster-state": "new"}
        world.start(H3)
        world.settle()
        assert world.machines[H3].etcd.last_exit == 1
        assert world.machines[H3].etcd.failing
        assert world.machines[H3].data is None

    def test_a_majority_that_forgot_founds_a_second_cluster_and_is_caught(self, world: FakeWorld) -> None:
        for address in (H1, H2, H3):
            world.lose_disk(address)
        for address in (H1, H2):
            settings = world.machines[address].etcd.settings or {}
            world.machines[address].etcd.settings = {**settings, "initial-cluster-state": "new"}
            world.start(address)
        world.settle()
        assert world.serving() == [H1, H2]
        assert any("second cluster" in violation for violation in world.violations)
        assert world.writes_lost() > 0


class TestQuorum:
    def test_one_of_three_may_go(self, world: FakeWorld) -> None:
        world.kill(H2)
        assert world.serving() == [H1, H3]
        assert ask(world, H2) is None

    def test_without_quorum_a_process_that_was_ready_says_so_and_a_restarted_one_is_silent(
        self, world: FakeWorld
    ) -> None:
        world.kill(H2)
        world.kill(H3)
        world.settle()
        assert world.serving() == []
        status = ask(world, H1)
        assert (status.leader_id, status.serves, status.confirmed) == (0, False, False)
        assert status.errors == ("etcdserver: no leader",)
        assert len(status.members) == 3
        world.kill(H1)
        world.start(H1)
        world.settle()
        assert ask(world, H1) is None

    def test_an_election_takes_a_second_after_a_kill_and_none_after_sigterm(
        self, world: FakeWorld, operator: Operator
    ) -> None:
        leader = world.leader()
        assert leader is not None
        operator.do(leader, "stop", "etcd")
        heir = world.leader()
        assert heir not in (None, leader)
        world.start(leader)
        world.settle(2)
        assert heir is not None
        world.kill(heir)
        assert world.serving() == []
        world.settle(1.01)
        assert len(world.serving()) == 2

    def test_a_hung_member_does_not_count_and_comes_back(self, world: FakeWorld) -> None:
        world.hang(H1)
        world.hang(H2)
        assert world.serving() == []
        assert ask(world, H1) is None
        world.wake(H1)
        world.settle(2)
        assert world.serving() == [H1, H3]

    def test_a_partition(self, world: FakeWorld) -> None:
        world.partition([H1], [H2, H3])
        world.settle(2)
        assert world.serving() == [H2, H3]
        assert world.host(H1).ask_etcd(client(H2), timeout=1) is None
        world.heal()
        assert world.serving() == [H1, H2, H3]
        assert world.writes_lost() == 0


class TestMembership:
    def test_replacing_a_member_by_hand(self, world: FakeWorld, operator: Operator) -> None:
        world.lose_disk(H3)
        world.settle()
        operator.do(H3, "hold", "etcd")
        operator.remove(H3)
        operator.add(H3)
        operator.join(H3)
        world.settle(1)
        assert ask(world, H3).is_learner
        assert ask(world, H3).members == ()
        assert not ask(world, H3).serves
        operator.promote(H3)
        assert world.serving() == [H1, H2, H3]
        assert world.violations == []
        assert world.writes_lost() == 0
        assert world.members_added == {peer(H3): 1}

    def test_an_added_member_gets_another_id_each_time(self, world: FakeWorld, operator: Operator) -> None:
        first = operator.ids()[peer(H3)]
        world.kill(H3)
        world.settle()
        operator.remove(H3)
        operator.add(H3)
        second = operator.ids()[peer(H3)]
        operator.remove(H3)
        world.settle(1)
        operator.add(H3)
        assert len({first, second, operator.ids()[peer(H3)]}) == 3

    @pytest.mark.parametrize("listed", [2, 3])
    def test_a_joiner_needs_the_right_list(self, world: FakeWorld, operator: Operator, listed: int) -> None:
        world.add_machine(H4)
        operator = Operator(world, 2)
        operator.add(H4)
        operator.join(H4, listed=listed)
        world.settle()
        etcd = world.machines[H4].etcd
        assert (etcd.process, etcd.failing, etcd.last_exit, etcd.starts) == (None, True, 1, 3)
        assert world.machines[H4].data is None
        operator.join(H4)
        world.settle(1)
        assert ask(world, H4).is_learner

    def test_slow_publish(self, world: FakeWorld) -> None:
        world.slow_publish = True
        world.add_machine(H4)
        operator = Operator(world)
        operator.add(H4)
        operator.join(H4)
        world.settle(6)
        assert ask(world, H4) is None
        operator.promote(H4)
        world.settle(1.2)
        assert ask(world, H4).serves

    def test_a_started_member_without_its_data_panics(self, world: FakeWorld, operator: Operator) -> None:
        world.lose_disk(H3)
        operator.do(H3, "start", "etcd")
        world.settle()
        etcd = world.machines[H3].etcd
        assert (etcd.process, etcd.failing, etcd.last_exit) == (None, True, 2)
        assert any("as a member that has run" in violation for violation in world.violations)

    def test_a_removed_member_ends_and_ends_again(self, world: FakeWorld, operator: Operator) -> None:
        operator.remove(H3)
        etcd = world.machines[H3].etcd
        assert (etcd.process, etcd.last_exit, etcd.failing) == (None, 0, False)
        operator.do(H3, "start", "etcd")
        assert world.machines[H3].etcd.process is not None
        world.settle(1)
        assert (etcd.process, etcd.last_exit, etcd.failing) == (None, 0, False)
        assert world.violations == []

    def test_a_removed_member_may_end_with_an_error(self, world: FakeWorld, operator: Operator) -> None:
        world.exit_of_removed = 2
        operator.remove(H3)
        etcd = world.machines[H3].etcd
        assert (etcd.process, etcd.failing) == (None, False)
        world.settle()
        assert (etcd.process, etcd.failing, etcd.starts) == (None, True, 3)

    def test_one_that_was_down_when_it_was_removed_is_told(
        self, world: FakeWorld, operator: Operator
    ) -> None:
        world.kill(H3)
        world.settle()
        operator.remove(H3)
        operator.do(H3, "start", "etcd")
        world.settle(1)
        assert world.machines[H3].etcd.last_exit == 0

    def test_a_removed_leader_leaves_an_election(self, world: FakeWorld, operator: Operator) -> None:
        leader = world.leader()
        assert leader is not None
        operator.remove(leader, via=leader)
        assert world.serving() == []
        world.settle(1.1)
        assert len(world.serving()) == 2

    def test_additions_wait_for_five_seconds_of_connectedness(
        self, world: FakeWorld, operator: Operator
    ) -> None:
        world.add_machine(H4)
        world.kill(H3)
        world.start(H3)
        world.settle(4.9)
        with pytest.raises(EtcdRejected) as rejected:
            operator.add(H4)
        assert rejected.value.reason is Reason.UNHEALTHY_CLUSTER
        world.settle(0.5)
        operator.add(H4)

    def test_rejections(self, world: FakeWorld, operator: Operator) -> None:
        world.add_machine(H4)
        leader = world.leader()
        follower = next(a for a in (H1, H2, H3) if a != leader)
        assert leader is not None
        cases: list[tuple[Reason, Callable[[], None]]] = [
            (Reason.PEER_URL_EXISTS, lambda: operator.add(H2)),
            (Reason.NOT_A_LEARNER, lambda: operator.promote(H2)),
            (Reason.MEMBER_NOT_FOUND, lambda: operator.do(H1, "member_remove", client(H1), 1)),
            (Reason.BAD_URLS, lambda: operator.do(H1, "member_add", client(H1), "10.0.0.9:2380")),
            (Reason.NOT_LEADER, lambda: operator.do(H1, "move_leader", client(follower), 1)),
            (Reason.BAD_TRANSFEREE, lambda: operator.do(H1, "move_leader", client(leader), 1)),
        ]
        for reason, call in cases:
            with pytest.raises(EtcdRejected) as rejected:
                call()
            assert rejected.value.reason is reason
        operator.add(H4)
        with pytest.raises(EtcdRejected) as rejected:
            operator.promote(H4)
        assert rejected.value.reason is Reason.LEARNER_NOT_READY
        world.settle(1)
        with pytest.raises(EtcdRejected) as rejected:
            operator.add("10.0.0.5")
        assert rejected.value.reason is Reason.TOO_MANY_LEARNERS

    def test_moving_the_leader(self, world: FakeWorld, operator: Operator) -> None:
        leader = world.leader()
        heir = next(address for address in (H1, H2, H3) if address != leader)
        assert leader is not None
        operator.do(leader, "move_leader", client(leader), operator.ids()[peer(heir)])
        assert world.leader() == heir
        assert len(world.serving()) == 3

    def test_without_quorum_nobody_knows_what_became_of_a_call(
        self, world: FakeWorld, operator: Operator
    ) -> None:
        world.kill(H2)
        world.kill(H3)
        world.settle()
        before = world.clock.time()
        with pytest.raises(EtcdOutcomeUnknown):
            operator.remove(H2)
        assert world.clock.time() - before > 7
        with pytest.raises(EtcdUnreachable):
            operator.do(H1, "member_remove", client(H2), 1)
