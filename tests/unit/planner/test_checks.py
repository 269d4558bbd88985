"""Each check at its border, on what hosts are said to offer."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from etcdplan.diff.target import Target
from etcdplan.model.facts import ABSENT, known, unknown
from etcdplan.model.machine import Figures, Machine, Volume
from etcdplan.model.state import Data, Host, Member, Membership, Process, State, Unit
from etcdplan.planner.checks import CHECK_CODES, LOG, check
from etcdplan.planner.document import dump, parse, to_document
from etcdplan.planner.unroll import unroll
from etcdplan.render.markdown import plan_markdown
from etcdplan.render.text import plan_text
from tests.plans.clusters import members, spec_of, target_of

MIB, GIB = 1024**2, 1024**3
A, B, C = "10.0.0.1", "10.0.0.2", "10.0.0.3"
QUIET = Figures(database=50_000_000, fsync=0.001, commit=0.002, round_trip=0.001)
GOOD = Machine(
    clock_ahead=known(0.0),
    memory=known(64 * GIB),
    processors=known(16),
    data=known(Volume("/var/lib/etcd", 100 * GIB, 200 * GIB, "ext2/ext3", spins=False)),
    listening=known((("*", 22),)),
    figures=known(QUIET),
)
BAD_VERSION = "3.5.2"


def target(**etcd: Any) -> Target:
    return target_of(spec_of(members(1, 2, 3), **etcd))


def found(*machines: Machine, host: Callable[[Host], Host] = lambda host: host, **etcd: Any) -> list[str]:
    """Return findings as `code severity address`; hosts without a machine are good."""
    given = dict(zip((A, B, C), machines, strict=False))
    hosts = {address: host(Host(address, machine=given.get(address, GOOD))) for address in (A, B, C)}
    return [f"{one.code} {one.severity} {one.address}" for one in check(target(**etcd), State(hosts))]


def with_figures(**differs: Any) -> Machine:
    return replace(GOOD, figures=known(replace(QUIET, **differs)))


def with_disk(free: int, **differs: Any) -> Machine:
    return replace(GOOD, data=known(replace(Volume("/var/lib/etcd", free, 200 * GIB), **differs)))


def off(seconds: float) -> Machine:
    return replace(GOOD, clock_ahead=known(seconds))


GROWS = 8 * GIB - 50_000_000
CASES: dict[str, tuple[tuple[Machine, ...], dict[str, Any], list[str]]] = {
    "good": ((), {}, []),
    "nothing was measured": ((Machine(),) * 3, {}, []),
    "room for the quota and the log": ((with_disk(GROWS + LOG),), {}, []),
    "a byte less": ((with_disk(GROWS + LOG - 1),), {}, [f"EP202 warning host/{A}"]),
    "a smaller quota": ((with_disk(2 * GIB + LOG),), {"quotaBackend": "2GiB"}, []),
    "a log elsewhere needs no room": (
        (replace(with_disk(GROWS), log=known(Volume("/wal", LOG, GIB))),),
        {},
        [],
    ),
    "no room for the log": (
        (replace(GOOD, log=known(Volume("/wal", LOG - 1, GIB))),),
        {},
        [f"EP203 warning host/{A}"],
    ),
    "a second": ((off(1.0), off(-1.0)), {}, []),
    "more than a second": ((off(1.01),), {}, [f"EP204 warning host/{A}"]),
    "less than a second behind": ((off(-1.01),), {}, [f"EP204 warning host/{A}"]),
    "certificates still valid": ((off(-300.0),), {}, [f"EP204 warning host/{A}"]),
    "certificates not yet valid": ((off(-301.0),), {}, [f"EP204 error host/{A}"]),
    "far ahead": ((off(301.0),), {}, [f"EP204 warning host/{A}"]),
    "the runner's own": ((off(5.0), off(5.4), off(6.0)), {}, ["EP204 warning runner"]),
    "not only the runner's": (
        (off(5.0), off(5.4), off(6.1)),
        {},
        [f"EP204 warning host/{A}, host/{B}", f"EP204 warning host/{C}"],
    ),
    "memory": ((replace(GOOD, memory=known(7_500_000_000)),), {}, []),
    "little memory": ((replace(GOOD, memory=known(7_499_999_999)),), {}, [f"EP206 note host/{A}"]),
    "little for its data": (
        (replace(with_figures(database=100_000_001), memory=known(8 * GIB)),),
        {},
        [f"EP206 note host/{A}"],
    ),
    "one processor": ((replace(GOOD, processors=known(1)),), {}, [f"EP207 note host/{A}"]),
    "two processors": ((replace(GOOD, processors=known(2)),), {}, []),
    "in memory": ((with_disk(100 * GIB, file_system="tmpfs"),), {}, [f"EP208 warning host/{A}"]),
    "network": ((with_disk(100 * GIB, file_system="nfs"),), {}, [f"EP208 warning host/{A}"]),
    "spins": ((with_disk(100 * GIB, spins=True),), {}, [f"EP208 note host/{A}"]),
    "as far as the heartbeat": (
        (with_figures(round_trip=0.1),),
        {"electionTimeout": "1s"},
        [],
    ),
    "farther": (
        (with_figures(round_trip=0.1001),),
        {"electionTimeout": "2s"},
        ["EP209 warning spec.etcd.heartbeatInterval"],
    ),
    "too far for the election": (
        (with_figures(round_trip=0.0501),),
        {"electionTimeout": "500ms"},
        ["EP210 warning spec.etcd.electionTimeout"],
    ),
    "fsync": ((with_figures(fsync=0.0099),), {}, []),
    "slow fsync": ((with_figures(fsync=0.01),), {}, [f"EP211 warning host/{A}"]),
    "commit": ((with_figures(commit=0.0249),), {}, []),
    "slow commit": ((with_figures(commit=0.025),), {}, [f"EP212 warning host/{A}"]),
    "too few values": ((with_figures(fsync=None, commit=None, round_trip=None),), {}, []),
    "unknown": (
        (
            replace(
                GOOD, memory=unknown("m", "why"), listening=unknown("p", "why"), figures=unknown("f", "x")
            ),
        ),
        {},
        [f"EP213 note host/{A}", f"EP213 note host/{A}"],
    ),
    "the same on all hosts": (
        (replace(GOOD, processors=known(1)),) * 3,
        {},
        [f"EP207 note host/{A}, host/{B}, host/{C}"],
    ),
}


@pytest.mark.parametrize(("machines", "etcd", "expected"), CASES.values(), ids=CASES)
def test_check(machines: tuple[Machine, ...], etcd: dict[str, Any], expected: list[str]) -> None:
    assert found(*machines, **etcd) == expected


def test_what_a_database_has_taken_is_not_guessed() -> None:
    def with_data(host: Host) -> Host:
        return replace(host, data=known(Data(1, 2)))

    unmeasured = replace(with_disk(LOG), figures=ABSENT)
    assert found(unmeasured) == [f"EP202 warning host/{A}"]
    assert found(unmeasured, host=lambda host: with_data(host) if host.address == A else host) == []


def test_a_host_that_does_not_answer_is_told_of_elsewhere() -> None:
    gone = {A: Host(A, unreachable="no answer")}
    assert check(target(), State(gone)) == ()


@pytest.mark.parametrize(
    ("listening", "taken"),
    [
        (("10.0.0.1", 2380), True),
        (("*", 2379), True),
        (("10.0.0.2", 2380), False),
        (("127.0.0.1", 2379), False),
        (("*", 2381), False),
    ],
)
def test_a_port_is_taken(listening: tuple[str, int], taken: bool) -> None:
    machine = replace(GOOD, listening=known((listening,)))
    assert found(machine) == [f"EP205 error host/{A}"] * taken


def test_its_own_etcd_does_not_take_a_members_port() -> None:
    machine = replace(GOOD, listening=known(((A, 2379), (A, 2380))))

    def runs(listens: str) -> Callable[[Host], Host]:
        urls = {"listen-peer-urls": f"https://{A}:2380", "listen-client-urls": listens}
        return lambda host: replace(host, etcd=Unit(process=known(Process(urls, answering=True))))

    assert found(machine, host=runs(f"https://{A}:2379")) == []
    assert found(machine, host=runs(f"https://{A}:4001")) == [f"EP205 error host/{A}"]


def test_nothing_is_said_of_ports_while_it_is_unknown_what_runs() -> None:
    machine = replace(GOOD, listening=known((("*", 2380),)))
    unsure = Unit(process=unknown("process", "why"))
    assert found(machine, host=lambda host: replace(host, etcd=unsure)) == []


def test_the_version_that_runs_is_judged_where_the_spec_wants_another() -> None:
    def versions(running: str) -> list[str]:
        member = Member(1, "member1", f"https://{A}:2380", (), learner=False, serving=True, version=running)
        state = State({}, known(Membership(1, {member.peer_url: member})))
        return [f"{one.code} {one.severity} {one.address}" for one in check(target(), state)]

    assert "EP201 error member/member1" in versions(BAD_VERSION)
    assert versions("3.6.16") == []
    assert versions("3.6.15") == []


def test_a_plan_shows_findings_everywhere_and_its_digest_does_not_know_them() -> None:
    def document(machine: Machine) -> Any:
        hosts = {address: Host(address, machine=machine) for address in (A, B, C)}
        return to_document(unroll(target(), State(hosts)), "sha256:aa")

    good, slow = document(GOOD), document(with_figures(fsync=0.0163))
    assert good.digest == slow.digest
    assert b'"findings"' not in dump(good)
    (finding,) = slow.findings
    assert (finding.code, finding.severity) == ("EP211", "warning")
    assert parse(dump(slow), "plan.json") == slow
    said = f"Warning EP211 (host/{A}, host/{B}, host/{C}): a write to the log (fsync) takes 16 ms"
    text = plan_text(slow, color=False, width=300)
    assert f"Findings:\n  - {said}" in text
    assert said in " ".join(plan_text(slow, color=False, width=60).replace("\n    ", " ").split())
    assert said in plan_markdown(slow)


def test_the_worst_comes_first() -> None:
    hosts = {
        A: Host(
            A, machine=replace(off(-400.0), processors=known(1), figures=known(replace(QUIET, commit=1.0)))
        )
    }
    document = to_document(unroll(target(), State(hosts)), "sha256:aa")
    assert [one.code for one in document.findings] == ["EP204", "EP212", "EP207"]


def test_every_code_has_a_case() -> None:
    seen = {line.split()[0] for _, _, expected in CASES.values() for line in expected}
    assert seen | {"EP201", "EP205"} == set(CHECK_CODES)
