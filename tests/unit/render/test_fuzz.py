"""Whatever a document holds, rendering succeeds and sends nothing raw to the terminal."""

import re
import unicodedata

from hypothesis import given, settings
from hypothesis import strategies as st

from etcdplan.planner.document import PlanDocument
from etcdplan.render.json import plan_json
from etcdplan.render.markdown import LEAST, plan_markdown
from etcdplan.render.printable import printable, wrap
from etcdplan.render.text import NO_CHANGES, plan_text

words = st.text(max_size=12) | st.sampled_from(
    [
        "member/m1",
        "apiserver/cp1/flag/etcd-servers",
        "certificate/",
        "host//record",
        "\x1b[2J",
        "``` \r",
        "`" * 9,
    ]
)
small = st.integers(-3, 9) | st.integers()
kinds = words | st.sampled_from(["trust", "certificate", "seal-host", "promote-member", "stop-apiserver"])
quorums = st.fixed_dictionaries(
    dict.fromkeys(
        ("voters", "healthy", "needed", "tolerates_before", "tolerates_during", "tolerates_after"), small
    )
)
steps = st.fixed_dictionaries(
    {
        **dict.fromkeys(("id", "subject", "heading", "summary", "reason"), words),
        "kind": kinds,
        "params": st.dictionaries(words, words, max_size=2),
        "preconditions": st.dictionaries(words, small, max_size=2),
        "group": small,
        "destructive": st.booleans(),
        "restarts": st.lists(words | st.just("10.0.0.1/etcd"), max_size=2),
        "quorum": quorums,
    }
)
changes = st.fixed_dictionaries(
    {
        "address": words,
        "action": words | st.sampled_from(["create", "update", "replace", "delete", "start", "unknown"]),
        "before": st.none() | words,
        "after": st.none() | words,
        "reason": words,
    }
)
refusals = st.fixed_dictionaries(
    {**dict.fromkeys(("code", "subject", "message", "remedy"), words), "exit_code": small}
)
facts = st.dictionaries(
    words | st.sampled_from(["members", "member/a", "member/b"]),
    words | st.just("a, voter, serves"),
    max_size=4,
)
documents = st.fixed_dictionaries(
    {
        **dict.fromkeys(("spec_digest", "spec_path", "digest", "checksum"), words),
        "cluster": st.fixed_dictionaries({"name": words, "id": words}),
        "tolerates": small,
        "changes": st.lists(changes, max_size=6),
        "refusals": st.lists(refusals, max_size=2),
        "notes": st.lists(words, max_size=3),
        "steps": st.lists(steps, max_size=6),
        "facts": facts,
    }
).map(PlanDocument.model_validate)


def raw(text: str) -> set[str]:
    """Return the characters that a terminal would act on."""
    return {char for char in text if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp")} - {"\n"}


@settings(max_examples=300, deadline=None)
@given(documents, st.booleans(), st.booleans(), st.integers(-5, 200), words)
def test_text(plan: PlanDocument, color: bool, verbose: bool, width: int, path: str) -> None:
    shown = plan_text(plan, color=color, width=width, saved_to=path, verbose=verbose)
    assert not raw(re.sub(r"\x1b\[[0-9;]+m", "", shown) if color else shown)
    assert (NO_CHANGES in shown) == (not plan.changes and not plan.steps and not plan.refusals)
    assert shown.endswith("\n")


@settings(max_examples=300, deadline=None)
@given(documents, st.integers(LEAST, 8000))
def test_markdown(plan: PlanDocument, limit: int) -> None:
    shown = plan_markdown(plan, limit=limit)
    assert not raw(shown)
    assert len(shown.encode()) <= limit
    assert shown.splitlines()[0].startswith("<!-- etcdplan-plan ")
    assert shown.splitlines()[0].endswith(" -->")


@settings(max_examples=100, deadline=None)
@given(documents)
def test_json(plan: PlanDocument) -> None:
    assert not raw(plan_json(plan))


@given(st.text(st.characters(codec=None)))
def test_printable_text_can_be_written_anywhere(text: str) -> None:
    shown = printable(text)
    shown.encode()
    assert shown.isprintable()
    assert printable(shown) == shown


@given(st.text(), st.integers(1, 40))
def test_wrapping_loses_only_spaces(text: str, width: int) -> None:
    assert "".join(wrap(text, width)).replace(" ", "") == text.replace(" ", "")
