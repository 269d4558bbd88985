"""What apply refuses, on real parts: each refusal has its exit code and its reason, and leaves everything as it was."""

import shutil
import socket
from pathlib import Path

import pytest

from etcdplan.hosts.processes import wait_until
from tests.support.cli import Done, Lab, killed

pytestmark = [pytest.mark.host, pytest.mark.timeout(300)]


def refused(lab: Lab, spec: Path, *, code: int = 5) -> str:
    """Check that plan and apply refuse alike and that nothing is changed by that; return what they say, on one line."""
    before = lab.effects(), lab.pids(), flags(lab)
    plan = lab.run("plan", spec, expect=code)
    assert said(plan) == said(lab.apply(spec, expect=code))
    assert (lab.effects(), lab.pids(), flags(lab)) == before
    return said(plan)


def said(done: Done) -> str:
    """Return the refusal of a plan as one line."""
    return " ".join(done.out.replace("│", " ").split())


def serving(lab: Lab) -> set[str]:
    """Return the members that serve."""
    membership = lab.observe().membership.value
    return {member.name for member in (membership.members.values() if membership else ()) if member.serving}


def flags(lab: Lab) -> dict[str, bytes]:
    """Return the settings on all hosts."""
    return {str(path): path.read_bytes() for path in lab.place.hosts.glob("*/etc/etcdplan/*.flags")}


def test_quorum_lost(lab: Lab) -> None:
    lab.up()
    lab.break_("member2")
    lab.break_("member3")
    words = refused(lab, lab.spec)
    assert "uorum" in words
    assert "lost" in words
    assert "2 are needed" in words


def test_all_data_gone(lab: Lab) -> None:
    lab.up()
    for member in ("member1", "member2", "member3"):
        lab.break_(member)
    assert "No member of the spec has any data left" in refused(lab, lab.spec)


def test_foreign_data_on_a_spare_host(lab: Lab) -> None:
    lab.up()
    theirs = lab.root(4) / "var/lib/etcd/customers.db"
    theirs.parent.mkdir()
    theirs.write_text("not ours")
    words = refused(lab, lab.variant(members={"member1": 1, "member2": 4, "member3": 3}))
    assert "is not ours" in words
    assert "customers.db" in words
    assert [path.name for path in theirs.parent.iterdir()] == ["customers.db"]
    assert theirs.read_text() == "not ours"


def test_data_of_another_etcd_cluster_on_a_spare_host(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    with Lab(tmp_path / "theirs", name="theirs") as other:
        other.up(1)
        other.break_("member1", "kill")
        lab.up()
        shutil.copytree(other.root(1) / "var/lib/etcd", lab.root(4) / "var/lib/etcd")
    words = refused(lab, lab.variant(members={"member1": 1, "member2": 4, "member3": 3}))
    assert "cluster" in words
    assert (lab.root(4) / "var/lib/etcd/member/wal").is_dir()


def test_an_unstarted_member_that_somebody_added(lab: Lab) -> None:
    lab.up()
    url = f"https://{lab.address(9)}:2380"
    # Servers accept a newcomer only when all members have been connected for five seconds.
    assert wait_until(
        lambda: lab.etcdctl("member", "add", "stranger", f"--peer-urls={url}").returncode == 0, timeout=30
    )
    words = refused(lab, lab.spec)
    assert "unstarted" in words
    assert url in words


def test_two_clusters_answer(lab: Lab) -> None:
    lab.up()
    lab.break_("member3")
    file = lab.root(3) / "etc/etcdplan/etcd.flags"
    keep = [line for line in file.read_text().splitlines() if not line.startswith("--initial-cluster")]
    alone = f"member3=https://{lab.address(3)}:2380"
    file.write_text(
        "\n".join([*keep, f"--initial-cluster={alone}", "--initial-cluster-state=new", ""])
        + "--initial-cluster-token=by-hand\n"
    )
    lab.start_by_hand(3)
    assert wait_until(lambda: len(lab.observe().clusters) == 2, timeout=30)
    assert "More than one cluster" in refused(lab, lab.spec)


def test_a_host_that_does_not_answer(lab: Lab) -> None:
    lab.up()
    lab.break_("member2", "host")
    # If it led, the others are without a leader for a moment, and what is seen then differs from look to look.
    assert wait_until(lambda: serving(lab) == {"member1", "member3"}, timeout=30)
    assert "does not answer" in refused(lab, lab.spec, code=8)


@pytest.mark.parametrize("founders", [1, 2])
def test_a_spec_that_changes_in_the_middle_of_a_bootstrap(lab: Lab, founders: int) -> None:
    """One founder waits for the others, or two are a cluster already."""
    lab.make()
    # Three trust bundles, then key and certificate of six pairs; then settings and start of each founder.
    last = f"effect:{3 + 2 * 6 + 2 * founders}:after"
    assert killed(lab.apply(expect=None, env={"ETCDPLAN_TEST_BUILD": "1", "ETCDPLAN_FAILPOINT": last}))
    assert len(lab.pids()) == founders
    if founders == 2:
        assert wait_until(lambda: lab.observe().leader is not None, timeout=30)
    other = lab.variant(members={"member1": 1, "member2": 2, "member3": 4})
    words = refused(lab, other)
    assert "begun with other members" in words
    lab.resume(other, expect=5)
    lab.resume()
    assert set(lab.pids()) == {lab.address(number) for number in (1, 2, 3)}
    lab.settled()


def test_a_port_that_somebody_has(lab: Lab) -> None:
    """Not seen by a plan: apply stops at the step, says who is in the way, and goes on when the port is free."""
    lab.make(1)
    with socket.create_server((lab.address(1), 2379)):
        done = lab.apply(expect=6)
    assert "2379" in done.err
    assert "taken" in done.err
    assert not lab.pids()
    lab.resume()
    lab.settled()
