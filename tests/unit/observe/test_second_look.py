"""What is on a host and what members say of it are read one after the other; the world goes on in between."""

from dataclasses import dataclass, replace
from typing import cast

from etcdplan.hosts.ports import EtcdReport, HostReport, Hosts, ListedMember
from etcdplan.model.facts import ABSENT, known
from etcdplan.model.state import Data, Process, Unit
from etcdplan.observe.collect import observe
from tests.support.fake_runs import CREDENTIALS
from tests.support.scenarios import make_spec, target_of

TARGET = target_of(make_spec(1))
(MEMBER,) = TARGET.members.values()
DATA = Data(7, 1)


@dataclass
class StartingHost:
    """A host whose etcd writes its data after the first look, and is listed as started at once, or never writes any."""

    writes: bool = True
    looks: int = 0

    def host(self, _address: str) -> "StartingHost":
        return self

    def inspect(self, *, timeout: float, kept: bool = False) -> HostReport:
        self.looks += 1
        process = Process(MEMBER.settings, answering=False)
        data = known(DATA) if self.writes and self.looks > 1 else ABSENT
        return HostReport(Unit(known(MEMBER.settings), known(process)), data, {}, ABSENT, ABSENT, {})

    def ask_etcd(self, client_url: str, *, timeout: float) -> EtcdReport:
        listed = ListedMember(1, MEMBER.name, (MEMBER.peer_url,), (MEMBER.client_url,), is_learner=False)
        return EtcdReport(7, 1, "3.6.16", 1, is_learner=False, serves=True, confirmed=True, members=(listed,))


def test_a_member_that_came_up_meanwhile_has_its_data() -> None:
    host = StartingHost()
    state = observe(TARGET, cast(Hosts, host), CREDENTIALS, now=0)
    assert state.hosts[MEMBER.host].data.get() == DATA
    assert host.looks == 2


def test_data_that_is_gone_stays_gone() -> None:
    host = StartingHost(writes=False)
    state = observe(TARGET, cast(Hosts, host), CREDENTIALS, now=0)
    assert state.hosts[MEMBER.host].data.get() is None


def test_who_was_never_started_is_looked_at_once() -> None:
    class Unstarted(StartingHost):
        def ask_etcd(self, client_url: str, *, timeout: float) -> EtcdReport:
            report = super().ask_etcd(client_url, timeout=timeout)
            return replace(report, members=(replace(report.members[0], name=""),))

    host = Unstarted()
    observe(TARGET, cast(Hosts, host), CREDENTIALS, now=0)
    assert host.looks == 1
