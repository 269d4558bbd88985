"""What a restore is made of, before anything is done."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etcdplan.model.restore import BUMP, Restore, bump_for, new_token


def test_each_restore_makes_another_cluster_and_the_same_request_the_same_one() -> None:
    members = (("https://a:2380", "a"), ("https://b:2380", "b"))
    first = Restore("n", "5a" * 32, 7, members, new_token("prod", "5a" * 32, 0xABC), BUMP, 0xABC)
    again = replace(first, token=new_token("prod", "5a" * 32, first.ids[0]))
    other = replace(first, token=new_token("prod", "5b" * 32, 0xABC))
    assert first.token == new_token("prod", "5a" * 32, 0xABC)
    assert len({0xABC, first.ids[0], again.ids[0], other.ids[0]}) == 4
    assert not set(first.ids[1].values()) & set(again.ids[1].values())


@pytest.mark.parametrize(
    ("version", "can"),
    [
        ("3.4.23", False),
        ("3.4.26", False),
        ("3.4.27", True),
        ("3.5.9", False),
        ("3.5.10", True),
        ("3.6.0", True),
        ("3.7.3", True),
    ],
)
def test_revisions_are_raised_where_the_tool_can(version: str, can: bool) -> None:
    assert bump_for(version) == (BUMP if can else 0)


@given(
    st.integers(1, 10**7),
    st.lists(st.tuples(st.integers(0, BUMP - 1), st.booleans(), st.booleans()), min_size=1, max_size=6),
)
def test_no_revision_that_was_seen_comes_again(first: int, restores: list[tuple[int, bool, bool]]) -> None:
    """Whichever snapshot is restored, over whatever was restored before, whether the cluster can be asked or not."""
    snapshots, seen, began = [first], first, 0
    for written, answers, newest in restores:
        seen += written // 10 if answers else written
        snapshots.append(seen)
        chosen = snapshots[-1] if newest else snapshots[0]
        began = chosen + bump_for("3.6.16", chosen, reached=seen if answers else 0, began=began)
        assert began > seen
        assert began - seen >= BUMP // 10 - 1 or not answers
        seen = began
