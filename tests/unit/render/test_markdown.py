"""One comment, never too long, from which nothing untrusted breaks out."""

import re

import pytest

from etcdplan.planner.document import PlanDocument
from etcdplan.render.markdown import LEAST, code, plan_markdown
from etcdplan.render.text import NO_CHANGES
from tests.unit.render.documents import change, document, refusal, step


def big(steps: int = 300, destructive: int = 40, summary: str = "remove it") -> PlanDocument:
    rows = [
        step("remove-member", f"member/m{n}", destructive=n < destructive, summary=f"{summary} {n}")
        for n in range(steps)
    ]
    changes = [change(f"member/m{n}", "delete", before=f"https://10.0.{n}.1:2380") for n in range(steps)]
    return document(steps=rows, changes=changes)


def outside_fences(markdown: str) -> str:
    """Return what a Markdown reader takes for text: no fences, no code spans (CommonMark 4.5, 6.1)."""
    kept, fence = [], ""
    for line in markdown.splitlines():
        ticks = re.match(r"`{3,}", line)
        if not fence and ticks:
            fence = ticks[0]
        elif fence and ticks and len(ticks[0]) >= len(fence) and line.strip("`") == "":
            fence = ""
        elif not fence:
            kept.append(re.sub(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", "", line))
    assert not fence, "a fence stays open"
    return "\n".join(kept)


def test_what_a_reviewer_needs_stands_outside_the_details() -> None:
    steps = [
        step("remove-member", "member/member2", destructive=True, summary="remove member2"),
        step("a", "x"),
    ]
    shown = plan_markdown(document(steps=steps, changes=[change("member/member2", "delete")]))
    visible = re.sub(r"<details>.*?</details>", "", shown, flags=re.S)
    assert "**Plan: 0 to add, 0 to change, 1 to destroy.**" in visible
    assert "2 steps, 1 destructive (1)." in visible
    assert "- 1: `remove member2`" in visible
    assert "Failure tolerance: 1 throughout." in visible
    assert "`sha256:bb`" in visible
    assert shown.count("```diff") == 2


def test_the_first_line_identifies_the_plan() -> None:
    first = plan_markdown(document()).splitlines()[0]
    assert first == (
        "<!-- etcdplan-plan cluster=prod id=b98058b047667705 digest=sha256:bb "
        "changes=0 refused=no truncated=no -->"
    )


def test_no_changes_and_refusals_say_so() -> None:
    assert f"**{NO_CHANGES}**" in plan_markdown(document())
    shown = plan_markdown(document(refusals=[refusal()], changes=[change("cluster")], steps=[step("a", "x")]))
    assert "**Refused: `quorum-lost`. Nothing can be applied.**" in shown
    assert "Mend it." in shown
    assert "etcdplan apply" not in shown
    assert NO_CHANGES not in shown


@pytest.mark.parametrize("limit", [LEAST, 6_000, 10_000, 30_000, 60_000])
def test_the_limit_holds_in_bytes_and_destructive_steps_stay(limit: int) -> None:
    snow = "☃" * 100
    for plan in (big(), big(summary="entferne Rückgrat für größte Bäume ☃" * 5), big(40, 40, summary=snow)):
        shown = plan_markdown(plan, limit=limit)
        assert len(shown.encode()) <= limit
        listed = re.search(r"\*\*Destructive steps\*\*\n\n((?:- .*\n)+)", shown)
        if listed is None:
            assert "**Destructive steps:** 1-40\n" in shown
        else:
            assert listed[1].count("\n") == 40


def test_a_truncated_plan_says_so_and_cannot_be_approved() -> None:
    shown = plan_markdown(big(), limit=8_000)
    assert "truncated=yes" in shown.splitlines()[0]
    assert "must not be used to approve" in shown
    assert "sha256:bb`" not in shown
    assert "etcdplan apply" not in shown
    assert re.search(r"\d+ of 30[01] lines left out", shown)
    whole = plan_markdown(big())
    assert "truncated=no" in whole.splitlines()[0]
    assert "truncated and" not in whole
    assert "left out" not in whole


def test_a_limit_that_cannot_hold_is_refused() -> None:
    with pytest.raises(ValueError, match="at least"):
        plan_markdown(document(), limit=LEAST - 1)


EVIL = [
    "```",
    "````",
    "```\n</details><script>alert(1)</script>",
    "``````\n# Approved by @security",
    "--> <!-- --",
    "`a` ``b`` ```c```",
    "</summary></details>**approved**",
    "@org/team please merge #1",
    "a\r\n```\r\nb",
    "\u2028```\u2028",
    "` ` `",
]


@pytest.mark.parametrize("evil", EVIL)
def test_nothing_untrusted_breaks_out(evil: str) -> None:
    plan = document(
        cluster={"name": evil, "id": evil},
        digest=evil,
        changes=[change(f"member/{evil}", before=evil, after=evil, reason=evil)],
        steps=[step("a", evil, summary=evil, heading=evil, destructive=True)],
        notes=[evil],
        refusals=[],
    )
    refused = plan.model_copy(
        update={"refusals": document(refusals=[refusal(code=evil, message=evil, remedy=evil)]).refusals}
    )
    for one in (plan, refused):
        shown = plan_markdown(one)
        head, *rest = shown.split("\n")
        assert re.fullmatch(r"<!-- [\w %.:=-]+ -->", head)
        assert "--" not in head[4:-3]
        plain = outside_fences("\n".join(rest))
        for word in ("script", "@", "approved", "Approved", "-->", "#1"):
            assert word not in plain, plain
        assert plain.count("<details>") == plain.count("</details>") == shown.count("<details><summary>")


@pytest.mark.parametrize("text", ["plain", "a`b", "``", "`x`", "", "x" * 500])
def test_code_spans_end_where_they_should(text: str) -> None:
    span = code(text, 100)
    assert outside_fences(f"before {span} after") == "before  after"
