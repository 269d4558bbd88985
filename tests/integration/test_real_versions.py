"""The whole way on every supported version of etcd: founded, members replaced, scaled up and down, under load."""

import json

import pytest

from tests.support.cli import Lab

pytestmark = [pytest.mark.host, pytest.mark.timeout(600)]

VERSIONS = ("3.4.23", "3.5.35", "3.6.16", "3.7.3")


def check_members(lab: Lab, *numbers: int) -> None:
    """Check that these members serve as voters, and that no other etcd runs."""
    state = lab.observe()
    members = state.membership.get()
    assert members is not None
    assert sorted(member.name for member in members.members.values()) == [f"member{n}" for n in numbers]
    assert all(member.serving and not member.learner for member in members.members.values())
    assert set(lab.pids()) == {lab.address(number) for number in numbers}


def ids(lab: Lab) -> dict[str, int]:
    """Return the members' IDs by name."""
    members = lab.observe().membership.get()
    assert members is not None
    return {member.name: member.id for member in members.members.values()}


@pytest.mark.parametrize("version", VERSIONS)
def test_founded_replaced_scaled_and_back(lab: Lab, version: str) -> None:
    lab.up(3, version=version)
    check_members(lab, 1, 2, 3)
    listed = json.loads(lab.run("lab", "status", "--json").out)["labs"]["demo"]
    assert [unit["version"] for unit in listed if unit["state"] == "running"] == [version] * 3
    lab.settled()
    with lab.writers(1, 3) as writers:
        first = ids(lab)
        lab.break_("member2")
        lab.run("plan", lab.spec, "--detailed-exitcode", expect=2)
        lab.apply()
        check_members(lab, 1, 2, 3)
        healed = ids(lab)
        assert {name for name in first if first[name] != healed[name]} == {"member2"}
        lab.settled()

        five = lab.variant(members={f"member{number}": number for number in range(1, 6)})
        lab.apply(five)
        check_members(lab, 1, 2, 3, 4, 5)
        assert {name: ids(lab)[name] for name in healed} == healed
        lab.settled(five)

        grown = ids(lab)
        lab.break_("member2")
        lab.break_("member4")
        plan = lab.run("plan", five, "--detailed-exitcode", expect=2).out
        # All that failed go before anybody comes: servers add nobody while a voter is down.
        steps = [plan.index(f"{what} member{member}") for what in ("remove", "add") for member in (2, 4)]
        assert steps == sorted(steps)
        lab.apply(five)
        check_members(lab, 1, 2, 3, 4, 5)
        assert {name for name in grown if grown[name] != ids(lab)[name]} == {"member2", "member4"}
        lab.settled(five)

        lab.apply()
        check_members(lab, 1, 2, 3)
        lab.settled()
        assert writers.stop().acknowledged > 100
        assert writers.lost() == 0


def test_one_three_five_three(lab: Lab) -> None:
    lab.up(1)
    with lab.writers(1) as writers:
        for size in (3, 5, 3):
            spec = lab.variant(members={f"member{number}": number for number in range(1, size + 1)})
            lab.apply(spec)
            check_members(lab, *range(1, size + 1))
            lab.settled(spec)
        assert writers.stop().acknowledged > 100
        assert writers.lost() == 0
