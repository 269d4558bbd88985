"""The fake world behaves as etcd's documentation and experience say; a test on real etcd compares the two."""

import ast
import json
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from etcdplan.hosts.ports import Claim, Fenced, HostOutcomeUnknown, HostRefused, HostUnreachable
from etcdplan.model.facts import Fact, UnknownFact
from etcdplan.transport.errors import EtcdOutcomeUnknown, EtcdRejected, EtcdUnreachable, Reason
from tests import support
from tests.support.fake_etcd import founded_id, founder_id
from tests.support.fake_pki import describe_leaf, fake_leaf
from tests.support.fake_ports import FakeEffects
from tests.support.fake_world import FakeWorld
from tests.support.scenarios import (
    CA,
    founded,
    fresh,
    give_certificates,
    initial_settings,
    make_spec,
    target_of,
)

H1, H2, H3, H4 = (f"10.0.0.{i}" for i in range(1, 5))


def peer(address: str) -> str:
    return f"https://{address}:2380"


def client(address: str) -> str:
    return f"https://{address}:2379"


class Operator:
    """Somebody who holds the lock of all hosts and does things by hand."""

    def __init__(self, world: FakeWorld, token: int = 1) -> None:
        self.world = world
        self.token = token
        self._ids = count(1)
        for machine in world.machines.values():
            machine.files["lock.json"] = json.dumps({"token": token}).encode()

    def claim(self) -> Claim:
        return Claim(self.token, f"{self.token}-{next(self._ids)}")

    def at(self, address: str) -> FakeEffects:
        return self.world.host(address).effects

    def ids(self) -> dict[str, int]:
        return {member.peer_url: member.id for member in self.world.clusters[-1].members.values()}

    def remove(self, address: str, *, via: str = H1) -> None:
        self.at(via).member_remove(self.claim(), client(via), self.ids()[peer(address)])

    def add(self, address: str, *, via: str = H1) -> None:
        self.at(via).member_add(self.claim(), client(via), peer(address))

    def promote(self, address: str, *, via: str = H1) -> None:
        self.at(via).member_promote(self.claim(), client(via), self.ids()[peer(address)])

    def do(self, address: str, effect: str, *args: object) -> None:
        getattr(self.at(address), effect)(self.claim(), *args)

    def join(self, address: str, *, listed: int | None = None) -> None:
        """Write what a newcomer needs, and start it; `listed` of the members are named."""
        target = target_of(make_spec(hosts=[H1, H2, H3, H4]))
        member = target.member_hosts[address]
        urls = [peer(address), *sorted(url for url in self.ids() if url != peer(address))][:listed]
        names = ",".join(
            f"{member.name if url == peer(address) else f'm{i}'}={url}" for i, url in enumerate(urls)
        )
        initial = {**initial_settings(target, member, "existing"), "initial-cluster": names}
        if "server" not in self.world.machines[address].pairs:
            give_certificates(self.world, target, member)
        self.do(address, "write_settings", "etcd", {**member.settings, **initial})
        self.do(address, "start", "etcd")


@pytest.fixture
def world() -> FakeWorld:
    return founded()


@pytest.fixture
def operator(world: FakeWorld) -> Operator:
    return Operator(world)


def ask(world: FakeWorld, address: str):  # type: ignore[no-untyped-def]
    return world.host(address).ask_etcd(client(address), timeout=1)


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


class TestDisks:
    def test_old_data_of_a_removed_member_lets_no_new_one_start(
        self, world: FakeWorld, operator: Operator
    ) -> None:
        operator.remove(H3)
        world.settle()
        operator.add(H3)
        operator.do(H3, "start", "etcd")
        world.settle(1)
        assert world.machines[H3].etcd.last_exit == 0
        operator.do(H3, "set_data_aside")
        operator.join(H3)
        world.settle(1)
        assert ask(world, H3).is_learner
        assert len(world.machines[H3].aside) == 1

    def test_corrupt_data(self, world: FakeWorld) -> None:
        identity = world.host(H3).inspect(timeout=1).data.get()
        world.corrupt_data(H3)
        world.settle()
        report = world.host(H3).inspect(timeout=1)
        assert report.etcd.failing
        assert report.data.get() == identity

    def test_data_is_not_set_aside_under_a_running_etcd(self, operator: Operator) -> None:
        with pytest.raises(HostRefused):
            operator.do(H1, "set_data_aside")

    def test_a_power_cut_and_a_boot(self, world: FakeWorld) -> None:
        world.power_cut(H1)
        with pytest.raises(HostUnreachable):
            world.host(H1).inspect(timeout=1)
        world.settle(2)
        assert world.serving() == [H2, H3]
        world.boot(H1)
        world.settle(1)
        assert len(world.serving()) == 3

    def test_what_is_held_stays_down_over_a_boot(self, world: FakeWorld, operator: Operator) -> None:
        operator.do(H1, "hold", "etcd")
        world.power_cut(H1)
        world.boot(H1)
        report = world.host(H1).inspect(timeout=1)
        assert report.etcd.held
        assert report.etcd.process.get() is None

    def test_a_new_machine_is_empty(self, world: FakeWorld) -> None:
        world.replace_machine(H1)
        report = world.host(H1).inspect(timeout=1)
        assert (report.data.get(), report.record.get(), report.trust.get(), dict(report.leafs)) == (
            None,
            None,
            None,
            {},
        )
        assert world.host(H1).store.names("") == ()

    def test_a_full_disk(self, world: FakeWorld, operator: Operator) -> None:
        world.fill_disk(H1)
        assert world.host(H1).inspect(timeout=1).free_bytes == 0
        writes: dict[str, tuple[object, ...]] = {
            "write_settings": ("etcd", {}),
            "write_record": (b"",),
            "install_trust": (b"[]",),
        }
        for name, args in writes.items():
            with pytest.raises(HostRefused):
                operator.do(H1, name, *args)
        with pytest.raises(HostRefused):
            world.host(H1).store.append("journal", b"line\n")

    def test_the_store(self, world: FakeWorld) -> None:
        store = world.host(H1).store
        store.write("journal/run1", b"a")
        store.append("journal/run1", b"b")
        store.append("journal/run2", b"c")
        assert store.read("journal/run1") == b"ab"
        assert store.read("journal") is None
        assert store.names("journal") == ("run1", "run2")


class TestApiServers:
    @pytest.fixture
    def world(self) -> FakeWorld:
        return founded(api_servers=2)

    def unit(self, world: FakeWorld, address: str = "10.0.0.11"):  # type: ignore[no-untyped-def]
        (unit,) = world.host(address).inspect(timeout=1).api_servers.values()
        return unit

    def ready(self, world: FakeWorld) -> bool:
        return bool(self.unit(world).process.get().answering)

    def test_ready_while_one_endpoint_serves(self, world: FakeWorld) -> None:
        world.kill(H1)
        world.settle(2)
        assert self.ready(world)
        world.kill(H2)
        assert not self.ready(world)

    def test_settings_of_others_stay(self, world: FakeWorld, operator: Operator) -> None:
        operator.do("10.0.0.11", "write_settings", "apiserver/cp1", {"etcd-servers": client(H1)})
        assert world.machines["10.0.0.11"].units["apiserver/cp1"].settings == {
            "secure-port": "6443",
            "etcd-servers": client(H1),
        }
        assert self.unit(world).settings.get() == {"etcd-servers": client(H1)}

    def test_only_one_at_a_time(self, world: FakeWorld, operator: Operator) -> None:
        for address, unit in (("10.0.0.11", "apiserver/cp1"), ("10.0.0.12", "apiserver/cp2")):
            operator.do(address, "stop", unit)
            operator.do(address, "start", unit)
        assert any("2 API servers are down" in violation for violation in world.violations)
        world.violations.clear()
        world.settle(3)
        assert self.ready(world)
        operator.do("10.0.0.11", "stop", "apiserver/cp1")
        assert world.violations == []

    def test_one_that_names_a_removed_member(self, world: FakeWorld, operator: Operator) -> None:
        world.kill(H3)
        world.settle()
        operator.remove(H3)
        assert sum("naming the removed" in violation for violation in world.violations) == 2

    def test_one_that_names_another_cluster(self, world: FakeWorld, operator: Operator) -> None:
        """It keeps to the cluster that it first connected to."""
        founded(world, spec=make_spec(hosts=["10.1.0.1"]))
        assert len(world.clusters) == 2
        cp1 = world.machines["10.0.0.11"].units["apiserver/cp1"].process
        assert cp1 is not None
        cp1.settings["etcd-servers"] = f"{client(H1)},{client('10.1.0.1')}"
        del cp1.endpoints
        for address in (H1, H2):
            world.kill(address)
        assert not self.ready(world)

    def test_behind_a_load_balancer(self) -> None:
        world = founded(api_servers=1, connect="https://etcd.lb:2379")
        assert self.ready(world)
        world.kill(H1)
        world.settle(2)
        assert self.ready(world)


class TestCertificates:
    def replace(self, world: FakeWorld, address: str, name: str, **fields: object) -> None:
        pair = world.machines[address].pairs[name]
        leaf = describe_leaf(pair.certificate)
        old = {"issuer": leaf.issuer, "sans": leaf.sans, "usages": leaf.usages, "not_after": leaf.not_after}
        pair.certificate = fake_leaf(**{**old, **fields}, key=pair.key)  # type: ignore[arg-type]

    def test_an_expired_peer_certificate_cuts_a_member_off_when_it_connects_anew(
        self, world: FakeWorld
    ) -> None:
        self.replace(world, H1, "peer", not_after=0)
        world.settle()
        assert len(world.serving()) == 3
        world.kill(H1)
        world.start(H1)
        world.settle()
        assert world.serving() == [H2, H3]

    @pytest.mark.parametrize("fields", [{"not_after": 0}, {"sans": ("localhost",)}])
    def test_a_server_certificate_that_clients_refuse(
        self, world: FakeWorld, fields: dict[str, object]
    ) -> None:
        self.replace(world, H1, "server", **fields)
        assert ask(world, H1) is None
        assert ask(world, H2).serves

    def test_a_certificate_of_an_unknown_authority(self, world: FakeWorld) -> None:
        self.replace(world, H1, "peer", issuer="another")
        world.kill(H1)
        world.start(H1)
        world.settle()
        assert world.serving() == [H2, H3]

    def test_etcd_does_not_start_without_its_files(self, world: FakeWorld) -> None:
        del world.machines[H1].pairs["peer"]
        world.kill(H1)
        world.start(H1)
        world.settle()
        assert world.machines[H1].etcd.failing

    def test_a_new_pair(self, world: FakeWorld, operator: Operator) -> None:
        effects = operator.at(H1)
        csr = effects.make_leaf_key(operator.claim(), "peer")
        leafs = world.host(H1).inspect(timeout=1).leafs
        file = leafs["peer"].get()
        assert file is not None
        assert file.key_matches
        certificate = fake_leaf(issuer=CA, sans=(H1,), usages=("client", "server"), not_after=2e9, csr=csr)
        effects.install_leaf(operator.claim(), "peer", certificate)
        file = world.host(H1).inspect(timeout=1).leafs["peer"].get()
        assert file is not None
        assert file.key_matches
        assert describe_leaf(file.certificate_pem).sans == (H1,)
        effects.make_leaf_key(operator.claim(), "peer")
        with pytest.raises(HostRefused, match="does not belong"):
            effects.install_leaf(operator.claim(), "peer", certificate)


class TestClaims:
    def test_a_stale_token_is_fenced(self, world: FakeWorld, operator: Operator) -> None:
        Operator(world, 2)
        with pytest.raises(Fenced):
            operator.do(H1, "stop", "etcd")
        assert world.machines[H1].etcd.process is not None

    def test_no_lock_no_effect(self, world: FakeWorld, operator: Operator) -> None:
        world.replace_machine(H1)
        with pytest.raises(Fenced):
            operator.do(H1, "install_trust", b"[]")

    def test_an_effect_happens_once(self, world: FakeWorld, operator: Operator) -> None:
        claim = operator.claim()
        operator.at(H1).write_record(claim, b"1")
        with pytest.raises(HostRefused):
            operator.at(H1).write_record(claim, b"2")
        assert world.machines[H1].record == b"1"
        assert [done.effect for done in world.effects_log] == ["write_record"]

    def test_the_guard_keeps_others_out(self, world: FakeWorld, operator: Operator) -> None:
        one, other = world.controller("one"), world.controller("other")
        with one.host(H1).store.exclusive(timeout=5):
            before = world.clock.time()
            with pytest.raises(HostRefused), other.host(H1).store.exclusive(timeout=5):
                raise AssertionError
            assert world.clock.time() == before + 5
            with pytest.raises(HostRefused):
                operator.do(H1, "stop", "etcd")
            with other.host(H2).store.exclusive(timeout=5):
                pass
        with other.host(H1).store.exclusive(timeout=5):
            pass

    def test_a_controller_that_comes_between(self, world: FakeWorld, operator: Operator) -> None:
        def take_over(host: str, effect: str) -> None:
            Operator(world, 9)

        world.before_effect = take_over
        with pytest.raises(Fenced):
            operator.do(H1, "stop", "etcd")


class TestFaults:
    def test_a_lost_reply(self, world: FakeWorld, operator: Operator) -> None:
        world.lose_reply("write_record", 2)
        operator.do(H1, "write_record", b"1")
        with pytest.raises(HostOutcomeUnknown):
            operator.do(H1, "write_record", b"2")
        operator.do(H2, "write_record", b"3")
        assert world.machines[H1].record == b"2"

    def test_a_lost_reply_of_etcd(self, world: FakeWorld, operator: Operator) -> None:
        world.lose_reply("member_remove")
        with pytest.raises(EtcdOutcomeUnknown):
            operator.remove(H3)
        assert peer(H3) not in operator.ids()

    def test_a_lost_request(self, world: FakeWorld, operator: Operator) -> None:
        world.lose_reply("member_remove", happens=False)
        with pytest.raises(EtcdOutcomeUnknown):
            operator.remove(H3)
        assert peer(H3) in operator.ids()

    def test_a_failed_effect_on_one_host(self, world: FakeWorld, operator: Operator) -> None:
        world.fail_effect("stop", host=H2)
        operator.do(H1, "stop", "etcd")
        with pytest.raises(HostRefused):
            operator.do(H2, "stop", "etcd")
        assert world.machines[H2].etcd.process is not None

    def test_a_host_that_does_not_answer(self, world: FakeWorld, operator: Operator) -> None:
        world.cut_network(H1)
        for call in (
            lambda: world.host(H1).inspect(timeout=1),
            lambda: ask(world, H1),
            lambda: world.host(H1).store.read("lock.json"),
            lambda: operator.do(H1, "stop", "etcd"),
            lambda: world.host("10.9.9.9").inspect(timeout=1),
        ):
            with pytest.raises(HostUnreachable):
                call()
        assert len(world.serving()) == 3
        world.restore_network(H1)
        assert ask(world, H1).serves

    def facts(self) -> Iterator[str]:
        yield from ("data", "record", "trust", "leaf/server", "etcd.settings", "etcd.process")

    def test_hidden_facts(self, world: FakeWorld) -> None:
        for fact in self.facts():
            world.hide(H1, fact)
        report = world.host(H1).inspect(timeout=1)
        hidden: tuple[Fact[Any], ...] = (
            report.data,
            report.record,
            report.trust,
            report.leafs["server"],
            report.etcd.settings,
            report.etcd.process,
        )
        for value, name in zip(hidden, self.facts(), strict=True):
            address = f"host/{H1}/{name.replace('.', '/')}"
            with pytest.raises(UnknownFact, match=f"{address} is unknown: permission denied"):
                value.get()
        assert report.leafs["peer"].get() is not None


def test_a_hung_process_is_stopped_all_the_same(world: FakeWorld, operator: Operator) -> None:
    world.hang(H3)
    operator.do(H3, "stop", "etcd")
    assert world.machines[H3].etcd.process is None
    assert world.violations == []


def test_looking_at_five_members_takes_less_than_a_millisecond() -> None:
    world = founded(members=5)
    hosts = [(world.host(address), client(address)) for address in world.machines]
    took = []
    for _ in range(20):
        before = time.perf_counter()
        for host, url in hosts:
            host.inspect(timeout=1)
            host.ask_etcd(url, timeout=1)
        took.append(time.perf_counter() - before)
    assert min(took) < 0.001


def test_the_fake_world_shares_no_dynamics_with_the_model() -> None:
    directory = Path(support.__file__).parent
    fakes = ("calls", "consensus", "etcd", "machine", "pki", "ports", "start", "world")
    for file in (*(directory / f"fake_{name}.py" for name in fakes), directory / "monitors.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            modules = [node.module] if isinstance(node, ast.ImportFrom) else []
            modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for module in modules:
                assert module not in (
                    "etcdplan.model.effects",
                    "etcdplan.model.settle",
                    "etcdplan.model.identity",
                    "etcdplan.model.quorum",
                ), file
