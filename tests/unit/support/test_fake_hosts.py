"""Hosts of the fake world: disks, API servers, certificates, claims and faults."""

from collections.abc import Iterator
from typing import Any

import pytest

from etcdplan.hosts.ports import Fenced, HostOutcomeUnknown, HostRefused, HostUnreachable
from etcdplan.model.facts import Fact, UnknownFact
from etcdplan.transport.errors import EtcdOutcomeUnknown
from tests.support.fake_pki import describe_leaf, fake_leaf
from tests.support.fake_world import FakeWorld
from tests.support.scenarios import (
    CA,
    founded,
    make_spec,
)
from tests.unit.support.by_hand import H1, H2, H3, Operator, ask, client, peer


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
