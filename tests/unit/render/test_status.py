"""How a cluster stands, as a table and as JSON."""

import json
from dataclasses import replace

from etcdplan.model.state import State
from etcdplan.render.json import status_json
from etcdplan.render.status import status_text
from tests.plans import clusters
from tests.plans.clusters import api_servers, members, running, spec_of, target_of

SPEC = spec_of(members(1, 2, 3), api_servers(2))
TARGET = target_of(SPEC)


def text(state: State) -> str:
    return status_text(state, TARGET, color=False)


def test_a_healthy_cluster() -> None:
    lines = text(running(SPEC)).splitlines()
    assert lines[0] == "Cluster prod b98058b047667705: 3 of 3 voters serve, 2 are needed, 1 more may fail."
    assert lines[2].split() == ["MEMBER", "HOST", "ROLE", "SERVING", "LEADER", "VERSION"]
    assert lines[3].split() == ["member1", "10.0.0.1", "voter", "yes", "yes", "3.6.16"]
    assert lines[4].split() == ["member2", "10.0.0.2", "voter", "yes", "3.6.16"]
    endpoints = ",".join(f"https://10.0.0.{n}:2379" for n in (1, 2, 3))
    assert [line.split() for line in lines[-2:]] == [
        ["cp1", "10.0.1.1", "ready", endpoints],
        ["cp2", "10.0.1.2", "ready", endpoints],
    ]


def test_what_is_down_hung_and_silent_is_said() -> None:
    state = clusters.api_server_down(clusters.hung(running(SPEC), "10.0.0.2"), "10.0.1.1", "cp1")
    shown = text(clusters.silent(state, "10.0.1.2"))
    assert "2 of 3 voters serve, 2 are needed, 0 more may fail" in shown
    assert "member2  10.0.0.2  voter  no" in shown
    assert "cp1         10.0.1.1  down" in shown
    assert "UNREACHABLE HOST  REASON\n10.0.1.2          no answer on port 22 within 10s\n" in shown


def test_lost_quorum_and_silence_are_told_apart() -> None:
    two = clusters.down(running(SPEC), "10.0.0.2", "10.0.0.3")
    assert "quorum is lost, 0 of 3 voters serve, 2 are needed" in text(two)
    assert "election" not in text(two)
    stuck = clusters.hung(clusters.hung(running(SPEC), "10.0.0.2"), "10.0.0.3")
    assert "2 are needed. 3 run: an election may be under way, look again in a few seconds." in text(stuck)
    nobody = clusters.down(two, "10.0.0.1")
    shown = text(nobody)
    assert "members unknown: no member answers. What follows was last seen." in shown
    assert "member1  10.0.0.1  voter  ?" in shown
    assert text(clusters.bare(SPEC)).startswith("Cluster prod: not founded yet.\n")


def test_one_is_not_counted_as_many() -> None:
    one = spec_of(members(1))
    assert "1 of 1 voter serves, 1 is needed, 0 more may fail" in text(running(one))


def test_members_the_spec_adds_and_does_not_know_are_marked() -> None:
    other = spec_of(members(1, 2, 4), api_servers(2))
    shown = status_text(running(SPEC, other), target_of(other), color=False)
    assert "not in the spec" in next(line for line in shown.splitlines() if line.startswith("member3"))
    assert "not a member yet" in next(line for line in shown.splitlines() if line.startswith("member4"))


def test_without_a_target_there_is_less_to_say() -> None:
    shown = status_text(running(SPEC), None, color=False)
    assert shown.startswith("Cluster b98058b047667705: 3 of 3")
    assert "spec" not in shown


def test_json_says_the_same() -> None:
    body = json.loads(status_json(running(SPEC), TARGET))
    assert body["format_version"] == "1.0"
    assert body["cluster"] == {
        "name": "prod",
        "id": "b98058b047667705",
        "members_unknown": None,
        "clusters_answering": ["b98058b047667705"],
    }
    assert body["quorum"] == {"voters": 3, "healthy": 3, "needed": 2, "tolerates": 1, "running": 3}
    assert [member["leader"] for member in body["members"]] == [True, False, False]
    assert [server["state"] for server in body["api_servers"]] == ["ready", "ready"]
    assert json.loads(status_json(clusters.bare(SPEC)))["quorum"] is None


def test_names_from_the_network_cannot_steer_the_terminal() -> None:
    state = running(SPEC)
    membership = state.membership.get()
    assert membership is not None
    evil = {url: replace(member, name="\x1b[2J\u202e") for url, member in membership.members.items()}
    state = clusters.silent(state.with_members(membership, evil), "10.0.1.2", why="\x07\r")
    for shown in (text(state), status_json(state, TARGET)):
        assert shown.replace("\n", "").isprintable()
