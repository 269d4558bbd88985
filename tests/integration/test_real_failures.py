"""Failures of real members, and what apply makes of them; changes of healthy ones."""

import json
import signal
from collections import Counter
from pathlib import Path

import pytest

from etcdplan.hosts.processes import wait_until
from etcdplan.hosts.unit_files import UnitFiles
from etcdplan.model.state import ETCD
from tests.support import real_outcome
from tests.support.cli import Lab
from tests.support.crashes import Crashes, chain

pytestmark = [pytest.mark.host, pytest.mark.timeout(300)]


def effects(lab: Lab) -> Counter[str]:
    """Count the kinds of effects that all runs announced in their journals."""
    kinds: dict[str, str] = {}
    for journal in lab.place.hosts.glob("*/var/lib/etcdplan/journal/*"):
        for line in journal.read_text().splitlines():
            record = json.loads(line)
            if record["type"] == "effect-intent":
                kinds[record["body"]["effect"]] = record["body"]["kind"]
    return Counter(kinds.values())


def identity(lab: Lab) -> dict[str, int]:
    """Return the IDs of the members that serve, by peer URL."""
    members = lab.observe().membership.get()
    return {url: member.id for url, member in members.members.items() if member.serving} if members else {}


def test_a_new_name_on_a_spare_host_when_the_old_host_is_gone(lab: Lab) -> None:
    lab.up()
    lab.break_("member2", "host")
    lab.run("plan", lab.spec, expect=8)
    spec = lab.variant(members={"member1": 1, "member4": 4, "member3": 3})
    with lab.writers(1, 3) as writers:
        plan = lab.run("plan", spec).out
        assert "cannot be stopped: its host does not answer" in " ".join(plan.split())
        lab.apply(spec)
        assert writers.stop().acknowledged > 0
        assert writers.lost() == 0
    assert set(identity(lab)) == {f"https://{lab.address(number)}:2380" for number in (1, 3, 4)}
    lab.settled(spec)


@pytest.mark.parametrize("how", ["hang", "kill"])
def test_a_member_with_its_data_is_started_and_keeps_its_identity(lab: Lab, how: str) -> None:
    lab.up()
    was, pids = identity(lab), lab.pids()
    lab.break_("member2", how)
    plan = lab.run("plan", lab.spec, "--detailed-exitcode", expect=2).out
    assert ("its etcd is hung" if how == "hang" else "its etcd is down") in plan
    lab.apply()
    assert identity(lab) == was
    assert {host for host, pid in lab.pids().items() if pid != pids[host]} == {lab.address(2)}
    assert set(effects(lab)).isdisjoint({"member-remove", "set-data-aside"})
    lab.settled()


def test_all_members_killed_are_started(lab: Lab) -> None:
    lab.up()
    was = identity(lab)
    with lab.writers(1, 2, 3) as writers:
        assert wait_until(lambda: writers.report().acknowledged > 20, timeout=20)
        for member in ("member1", "member2", "member3"):
            lab.break_(member, "kill")
        plan = lab.run("plan", lab.spec, "--detailed-exitcode", expect=2)
        assert "3 to change" in plan.out, plan
        lab.apply()
        assert identity(lab) == was
        assert writers.stop().acknowledged > 20
        assert writers.lost() == 0
    lab.settled()


def test_a_failed_leader_is_replaced(lab: Lab) -> None:
    lab.up()
    leader = lab.leader()
    others = [number for number in (1, 2, 3) if leader != f"member{number}"]
    with lab.writers(*others) as writers:
        lab.break_(leader)
        lab.apply()
        assert writers.stop().acknowledged > 0
        assert writers.lost() == 0
    assert len(identity(lab)) == 3
    lab.settled()


@pytest.mark.parametrize("moment", ["hold", "member_add"])
def test_the_failed_member_comes_back_in_the_middle(lab: Lab, moment: str) -> None:
    """Its etcd is started by hand: before it is taken out of service, and after it was removed."""
    lab.up()
    lab.break_("member2", "kill")
    spec = lab.variant(members={"member1": 1, "member4": 4, "member3": 3})
    with lab.writers(1, 3) as writers:
        crashes = Crashes(lab, spec)
        next(death for death in chain(crashes, "before", 4) if death.label.startswith(moment))
        lab.start_by_hand(2)
        if moment == "hold":
            # Healthy again, it is to be removed in another way than was approved.
            assert wait_until(lambda: came_back(lab), timeout=20)
            assert "stale" in lab.resume(spec, expect=3).err
            lab.apply(spec)
        else:
            lab.resume(spec)
        assert writers.stop().acknowledged > 0
        assert writers.lost() == 0
    assert set(identity(lab)) == {f"https://{lab.address(number)}:2380" for number in (1, 3, 4)}
    assert lab.address(2) not in lab.pids()
    assert real_outcome.asked(lab)["remove", "https://NETWORK.2:2380"] == 1
    lab.settled(spec)


def came_back(lab: Lab) -> bool:
    """Whether member2 serves."""
    return f"https://{lab.address(2)}:2380" in identity(lab)


def test_a_healthy_member_moves_to_a_spare_host(lab: Lab) -> None:
    lab.up()
    spec = lab.variant(members={"member1": 1, "member2": 4, "member3": 3})
    with lab.writers(1, 3) as writers:
        lab.apply(spec)
        assert writers.stop().acknowledged > 0
        assert writers.lost() == 0
    assert set(identity(lab)) == {f"https://{lab.address(number)}:2380" for number in (1, 3, 4)}
    assert set(lab.pids()) == {lab.address(number) for number in (1, 3, 4)}
    aside = list(lab.root(2).glob("var/lib/etcd/set-aside-*/member/wal/*.wal"))
    assert aside, "data is renamed, never deleted"
    lab.settled(spec)


def test_a_rolling_change_hands_the_leadership_over(lab: Lab) -> None:
    lab.up()
    leader, was, pids = lab.leader(), identity(lab), lab.pids()
    term = highest_term(lab)
    spec = lab.variant(etcd={"extraArgs": {"snapshot-count": "5000"}})
    with lab.writers(1, 2, 3) as writers:
        lab.apply(spec)
        assert writers.stop().acknowledged > 0
        assert writers.lost() == 0
    assert identity(lab) == was
    assert all(lab.pids()[host] != pid for host, pid in pids.items())
    # Restarted once each; and the leadership was moved before the leader was stopped: a term for each move, no more.
    made, _ = real_outcome.made_once(lab)
    assert {made[f"NETWORK.{number}", "stop etcd"] for number in (1, 2, 3)} == {1}
    moves = effects(lab)["move-leader"]
    assert moves >= 1
    assert highest_term(lab) == term + moves
    log = (lab.root(int(leader[-1])) / "var/log/etcd.log").read_text()
    assert log.index("leadership transfer finished") < log.index("received signal; shutting down")
    lab.settled(spec)


def highest_term(lab: Lab) -> int:
    """Return the raft term that the members are in."""
    with lab.live() as live:
        hosts = [live.hosts.host(lab.address(number)) for number in (1, 2, 3)]
        clients = [host.effects.clients.at(f"https://{host.address}:2379") for host in hosts]  # type: ignore[attr-defined]
        return max(int(client.status(timeout=5).raft_term) for client in clients)


def test_running_settings_that_differ_from_the_files(lab: Lab) -> None:
    """By hand: a member was started with another flag, and its file was put back."""
    lab.up()
    pids = lab.pids()
    edit_by_hand(lab, 2, restart=True)
    edit_by_hand(lab, 2, back=True)
    plan = lab.run("plan", lab.spec, "--detailed-exitcode", expect=2).out
    assert "heartbeat-interval" in plan, plan
    lab.apply()
    assert {host for host, pid in lab.pids().items() if pid != pids[host]} == {lab.address(2)}
    process = lab.observe().hosts[lab.address(2)].etcd.process.get()
    assert process is not None
    assert process.settings["heartbeat-interval"] == "100"
    lab.settled()


def test_files_that_differ_from_what_runs(lab: Lab) -> None:
    """By hand: a flag was edited and nothing was restarted; the file is put right before it does harm."""
    lab.up()
    edit_by_hand(lab, 2)
    plan = lab.run("plan", lab.spec, "--detailed-exitcode", expect=2).out
    assert "heartbeat-interval" in plan, plan
    lab.apply()
    settings = lab.observe().hosts[lab.address(2)].etcd.settings.get()
    assert settings is not None
    assert settings["heartbeat-interval"] == "100"
    lab.settled()


def edit_by_hand(lab: Lab, number: int, *, restart: bool = False, back: bool = False) -> None:
    """Change a member's heartbeat in its flags file, or change it back."""
    flags: Path = lab.root(number) / "etc/etcdplan/etcd.flags"
    old, new = "--heartbeat-interval=100\n", "--heartbeat-interval=150\n"
    text = flags.read_text()
    assert (new if back else old) in text
    flags.write_text(text.replace(new, old) if back else text.replace(old, new))
    if restart:
        unit = lab.unit(number)
        process = unit.process()
        assert process is not None
        process.send(signal.SIGTERM)
        assert wait_until(lambda: not process.state(), timeout=20)
        lab.start_by_hand(number)
        assert UnitFiles(lab.root(number).resolve(), ETCD).settings() is not None
        assert wait_until(lambda: came_back(lab), timeout=20)


def test_a_newcomer_that_kept_failing_is_tried_again(lab: Lab) -> None:
    """Whoever is told to mend the cause and to resume can do just that."""
    lab.up()
    lab.break_("member2")
    program = lab.root(2) / "usr/local/bin/etcd"
    etcd = program.readlink()
    program.unlink()
    program.symlink_to("/bin/false")
    stopped = lab.apply(expect=6)
    assert "ends again and again" in stopped.err
    lab.resume(expect=6)
    program.unlink()
    program.symlink_to(etcd)
    assert "It is tried once more" in " ".join(lab.run("plan", lab.spec).out.split())
    lab.resume()
    lab.settled()


def test_a_cluster_whose_spec_names_none_of_its_hosts_any_more(lab: Lab) -> None:
    """Whoever applied it knows where it was: it moves, and no second one is founded."""
    lab.up(1)
    was = lab.etcdctl("put", "key", "value")
    assert was.returncode == 0, was
    spec = lab.variant(members={"member2": 2})
    assert "remove member1" in lab.run("plan", spec).out
    lab.apply(spec)
    assert lab.etcdctl("get", "key", host=2).stdout.split() == ["key", "value"]
    assert set(lab.pids()) == {lab.address(2)}
    lab.new_runner()
    assert "a new, empty one is founded" in " ".join(
        lab.run("plan", lab.variant(members={"member3": 3})).out.split()
    ), "nobody who has not applied it can know"
