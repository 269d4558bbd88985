"""What is behind a load balancer is only noted: it is not etcdplan's."""

import pytest

from etcdplan.hosts.ports import HostUnreachable, ManagedHost
from etcdplan.observe.balancer import behind_balancer
from tests.support.fake_runs import Runner
from tests.support.fake_world import FakeWorld
from tests.support.scenarios import founded, make_spec

URL = "https://10.0.9.9:2379"
SPEC = make_spec(3, api_servers=2, connect=URL)


@pytest.fixture
def world() -> FakeWorld:
    return founded(spec=SPEC)


def notes(
    world: FakeWorld, monkeypatch: pytest.MonkeyPatch, *, behind: list[int], spec: object = SPEC
) -> str:
    """Return the notes when the members with these numbers (or others) are behind the load balancer."""
    runner = Runner(world, spec)  # type: ignore[arg-type]
    state = runner.observe()
    membership = state.membership.get()
    assert membership is not None
    ids = {int(m.name.removeprefix("member")): m.id for m in membership.members.values()}

    class Behind:
        def host(self, address: str) -> ManagedHost:
            assert address in {"10.0.0.11", "10.0.0.12"} and not state.host(address).unreachable
            host = world.controller("one").host(address)

            def members_behind(url: str, *, times: int, timeout: float) -> tuple[int, ...]:
                assert url == URL
                if behind == [-1]:
                    raise HostUnreachable("no answer.")
                return tuple(ids.get(number, number) for number in behind)[:times]

            monkeypatch.setattr(host, "members_behind", members_behind)
            return host

    return "; ".join(behind_balancer(runner.target, state, Behind()))


@pytest.mark.parametrize(
    ("behind", "said"),
    [
        ([1, 2, 3, 1], ""),
        ([1, 3, 1], "never led to member2"),
        ([1, 2, 3, 99], "no member of this cluster (ID 63)"),
        ([], "Nobody answers"),
        ([-1], "could not be seen from 10.0.0.11: no answer"),
    ],
)
def test_what_is_behind_is_compared(
    world: FakeWorld, monkeypatch: pytest.MonkeyPatch, behind: list[int], said: str
) -> None:
    found = notes(world, monkeypatch, behind=behind)
    assert said in found
    assert bool(found) == bool(said)


def test_a_member_that_goes_is_to_be_taken_out_first(
    world: FakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = make_spec(hosts=["10.0.0.1", "10.0.0.2"], api_servers=2, connect=URL)
    assert "member3 on 10.0.0.3, which the spec does not name" in notes(
        world, monkeypatch, behind=[1, 2, 3], spec=spec
    )


def test_another_api_servers_host_is_asked_when_the_first_is_silent(
    world: FakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.cut_network("10.0.0.11")
    assert notes(world, monkeypatch, behind=[1, 2, 3]) == ""


def test_without_a_load_balancer_nobody_is_asked(world: FakeWorld) -> None:
    runner = Runner(world, make_spec(3, api_servers=2))

    class Nobody:
        def host(self, address: str) -> ManagedHost:
            raise AssertionError(address)

    assert list(behind_balancer(runner.target, runner.observe(), Nobody())) == []
