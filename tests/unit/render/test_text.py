"""The text plan says what happens, in order, and hides nothing that matters."""

import re

from etcdplan.planner.document import PlanDocument
from etcdplan.render.text import NO_CHANGES, plan_text
from tests.unit.render.documents import change, document, refusal, step


def text(plan: PlanDocument, *, verbose: bool = False, color: bool = False) -> str:
    return plan_text(plan, color=color, saved_to="plan.json", verbose=verbose)


def test_no_changes() -> None:
    shown = text(document())
    assert shown.splitlines()[-1] == NO_CHANGES
    assert "3 of 3 voters healthy, 1 more may fail" in shown
    assert "digest" not in shown


def test_the_plan_line_counts_objects_and_a_replacement_twice() -> None:
    changes = [
        change("member/member4", "create", after="https://10.0.0.4:2380"),
        change("member/member4/flag/name", "create", after="member4"),
        change("member/member4/flag/data-dir", "create", after="/var/lib/etcd"),
        change("member/member2", "replace", before="https://10.0.0.2:2380", after="https://10.0.0.2:2380"),
        change("member/member3/flag/max-txn-ops", "create", after="200"),
        change("member/member5", "delete", before="https://10.0.0.5:2380"),
        change("certificate/member1/peer", after="issued"),
        change("members", "unknown"),
    ]
    shown = text(document(changes=changes, steps=[step("add-member", "member/member4")]))
    assert "\nPlan: 2 to add, 2 to change, 2 to destroy.\n1 could not be compared.\n" in shown


def test_the_same_member_deleted_and_created_is_a_replacement() -> None:
    changes = [
        change("member/member2", "delete", before="https://10.0.0.2:2380"),
        change("member/member2", "create", after="https://10.0.0.9:2380"),
        change("member/member2/flag/name", "create", after="member2"),
        change("member/member2/flag/data-dir", "create", after="/var/lib/etcd"),
    ]
    shown = text(document(changes=changes))
    assert (
        "-/+ member/member2\n      - https://10.0.0.2:2380  (why)\n      + https://10.0.0.9:2380  (why)\n"
        in shown
    )
    assert "\n      + 2 settings\n" in shown
    assert "Plan: 1 to add, 0 to change, 1 to destroy." in shown


def test_the_legend_names_only_what_is_there() -> None:
    shown = text(document(changes=[change("member/member5", "delete")]))
    assert "\n  - destroy\n" in shown


def test_one_setting_that_differs_on_disk_and_in_the_process_is_one_line() -> None:
    parts = [
        change("member/member1/flag/a", before="1", after="2", reason=f"it differs {where}")
        for where in ("on disk", "in the running process")
    ]
    shown = text(document(changes=parts))
    assert "      ~ a: 1 -> 2  (on disk and in the running process)\n" in shown


def test_objects_that_change_alike_share_a_block_unless_verbose() -> None:
    changes = [change(f"member/member{n}/flag/a", before="1", after="2") for n in (1, 2, 3)]
    changes += [
        change(f"certificate/member{n}/{leaf}", "create") for n in (1, 2) for leaf in ("server", "peer")
    ]
    changes += [change("certificate/cp1/apiserver-cp1", "create")]
    shown = text(document(changes=changes))
    assert "  ~ member/member1, member/member2, member/member3\n" in shown
    assert "  + 5 certificates: member1 server, peer; member2 server, peer; cp1 apiserver  (why)\n" in shown
    whole = text(document(changes=changes), verbose=True)
    for one in changes:
        assert one["address"].removesuffix("/flag/a") in whole


def test_small_steps_share_a_row_and_destructive_ones_never_do() -> None:
    small = [step("certificate", f"certificate/member{n}/peer") for n in (1, 2, 3)]
    harsh = [
        step("seal-host", f"host/10.0.0.{n}", group=2, destructive=True, summary=f"destroy {n}")
        for n in (1, 2)
    ]
    plan = document(changes=[change("cluster")], steps=[*small, *harsh])
    shown = plan_text(plan, color=False, width=130)
    assert re.search(
        r"^ +1-3 issue 3 certificates: member1 peer; member2 peer; member3 peer +3/3 +1$", shown, re.M
    )
    for number in (1, 2):
        assert re.search(rf"^ +{number + 3} destroy {number} +3/3 +1  destructive$", shown, re.M)
    assert "5 steps, 2 destructive (4-5)." in shown


def test_steps_that_change_the_quorum_or_restart_have_rows_of_their_own() -> None:
    steps = [
        step("certificate", "certificate/a/peer", stand=(2, 3, 0, 0)),
        step("certificate", "certificate/b/peer", stand=(3, 3, 0, 1)),
        step("certificate", "certificate/c/peer", restarts=["10.0.0.1/etcd"]),
    ]
    shown = text(document(changes=[change("cluster")], steps=steps))
    for number in (1, 2, 3):
        assert re.search(rf"^ +{number} certificate ", shown, re.M)


def test_headings_stand_once_a_group() -> None:
    steps = [step("a", "x"), step("a", "y"), step("b", "z", group=2), step("a", "w", group=3)]
    assert text(document(changes=[change("cluster")], steps=steps)).count("  Do it\n") == 3


def test_a_stopped_api_server_is_marked_and_counted() -> None:
    shown = text(document(changes=[change("cluster")], steps=[step("stop-apiserver", "apiserver/cp1")]))
    assert re.search(r"^ +1 stop-apiserver apiserver/cp1 .* stop$", shown, re.M)
    assert "1 step, 1 API server stopped (1)." in shown


def worst(*points: tuple[int, int], now: int = 3, during: int = 9) -> str:
    """Return the line on the tolerance for steps of (before, after) with three voters, `now` of them healthy."""
    facts = {f"member/{n}": f"m{n}, voter, {'serves' if n <= now else 'does not serve'}" for n in (1, 2, 3)}
    steps = [
        step("a", f"{i}", stand=(3, 3, *point), during=min(*point, during)) for i, point in enumerate(points)
    ]
    lines = text(document(changes=[change("cluster")], steps=steps, facts=facts)).splitlines()
    return next(line for line in lines if "ailure tolerance" in line)


def test_the_worst_point_says_from_when_until_when() -> None:
    assert worst((1, 1), (1, 1)) == "Failure tolerance: 1 throughout."
    assert worst((1, 0), (0, 0), (0, 1)) == (
        "Lowest failure tolerance: 0, from step 1 until step 3. When done: 1."
    )
    assert worst((0, 0), (0, 1), now=2) == "Lowest failure tolerance: 0, now and until step 2. When done: 1."
    assert worst((1, 1), (1, 0)) == "Lowest failure tolerance: 0, from step 2 to the end. When done: 0."
    assert worst((1, 0), (0, 1), (1, 0), (0, 1)) == (
        "Lowest failure tolerance: 0, from step 1 until step 2; from step 3 until step 4. When done: 1."
    )
    assert worst((-1, 0), (0, 1), now=1) == (
        "Lowest failure tolerance: none (no quorum), now and until step 1. When done: 1."
    )


def test_a_restart_counts_while_it_lasts() -> None:
    assert worst((1, 1), (1, 1), during=0) == "Lowest failure tolerance: 0, during steps 1-2. When done: 1."
    assert worst((0, 1), now=2, during=0) == (
        "Lowest failure tolerance: 0, now and until step 1. When done: 1."
    ), "a member that was hung takes nothing away"
    row = text(document(steps=[step("a", "1", during=0), step("a", "2", stand=(1, 1, 0, 0), during=-1)]))
    assert re.search(r"1 a 1 +3/3 +0, then 1$", row, re.M)
    assert re.search(r"2 a 2 +1/1 +none, then 0$", row, re.M)


def test_a_new_cluster_has_a_tolerance_only_when_done() -> None:
    steps = [step("a", "1", stand=(0, 0, -1, -1)), step("a", "2", stand=(3, 3, -1, 1))]
    shown = text(document(changes=[change("cluster")], steps=steps, facts={}))
    assert "not founded yet" in shown
    assert "Failure tolerance: 1 when done." in shown
    assert re.search(r"1 a 1 +0/0 +-$", shown, re.M)


def test_a_refused_plan_says_so_first_and_last_and_offers_nothing() -> None:
    plan = document(refusals=[refusal()], steps=[step("a", "x")], changes=[change("cluster")])
    shown = text(plan)
    first, last = shown.split("\n\n")[1], shown.split("\n\n")[-1]
    for part in ("Refused: quorum-lost (cluster)", "Quorum is lost.", "Mend it."):
        assert part in shown
    assert "Refused: quorum-lost" in first
    assert "Refused: quorum-lost. Nothing can be applied" in last
    assert "etcdplan apply" not in shown
    assert "Plan: " not in shown
    assert plan.digest not in shown


def test_the_next_command_is_exact() -> None:
    plan = document(changes=[change("cluster")], steps=[step("a", "x")])
    assert plan_text(plan, color=False, saved_to="my plan.json").endswith(
        "    etcdplan apply 'my plan.json'\n"
    )
    unsaved = plan_text(plan, color=False, spec_path="prod.yaml")
    assert "not saved" in unsaved
    assert unsaved.endswith("    etcdplan apply prod.yaml\n")
    assert "etcdplan apply" not in plan_text(plan, color=False)
    assert f"Plan digest: {plan.digest}\n" in unsaved


def test_colour_only_adds_to_the_text() -> None:
    plan = document(
        changes=[change("member/member5", "delete"), change("cluster")],
        refusals=[refusal()],
        steps=[step("a", "x", destructive=True)],
        notes=["Mind the gap."],
    )
    plain, colored = text(plan), text(plan, color=True)
    assert "\x1b" not in plain
    assert re.sub(r"\x1b\[[0-9;]+m", "", colored) == plain != colored


def test_long_texts_wrap_to_the_width_and_urls_stay_whole() -> None:
    urls = ",".join(f"https://10.0.0.{n}:2379" for n in range(1, 10))
    changes = [change("apiserver/cp1/flag/etcd-servers", before=urls, after=urls[::-1])]
    plan = document(changes=changes, steps=[step("a", "x", summary=f"run with {urls}")], notes=[urls])
    for width in (80, 100):
        lines = plan_text(plan, color=False, width=width).splitlines()
        assert max(map(len, lines)) <= width
    assert plan_text(plan, color=False).count("https://10.0.0.9:2379") == 3


def test_verbose_gives_reasons_and_what_restarts() -> None:
    steps = [step("a", "x", restarts=["10.0.0.1/etcd"])]
    shown = text(document(changes=[change("cluster")], steps=steps), verbose=True)
    assert "because: it is wanted, restarts 10.0.0.1/etcd" in shown
