"""What a restore would take and bring back, by keys alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etcdplan.backup.differences import Differences, Object, compare_keys, named

PREFIX = b"/registry/"
FEW = (b"a", b"ab", b"abc", b"b", b"ba", b"c", b"\0", b"\xff")
"""So few that both sides often have the same ones."""
KEYS = st.dictionaries(st.sampled_from(FEW), st.integers(1, 3))


@pytest.mark.parametrize(
    ("key", "wanted"),
    [
        ("configmaps/default/a", "configmaps default/a"),
        ("secrets/kube-system/token", "secrets kube-system/token"),
        ("namespaces/prod", "namespaces prod"),
        ("minions/node1", "nodes node1"),
        ("services/specs/default/web", "services default/web"),
        ("services/endpoints/default/web", "endpoints default/web"),
        (
            "apiextensions.k8s.io/customresourcedefinitions/x.y",
            "customresourcedefinitions.apiextensions.k8s.io x.y",
        ),
        ("cilium.io/policies/default/p", "policies.cilium.io default/p"),
        ("ranges/serviceips", "ranges serviceips"),
        ("health", "health "),
    ],
)
def test_keys_are_named_as_people_know_them(key: str, wanted: str) -> None:
    assert str(named(PREFIX + key.encode(), PREFIX)) == wanted


@given(KEYS, KEYS)
def test_every_difference_is_found_once(now: dict[bytes, int], then: dict[bytes, int]) -> None:
    found = compare_keys(iter(sorted(now.items())), iter(sorted(then.items())), b"")
    assert sorted(found.vanish) == sorted(named(key, b"") for key in now.keys() - then.keys())
    assert sorted(found.come_back) == sorted(named(key, b"") for key in then.keys() - now.keys())
    changed = (key for key in now.keys() & then.keys() if now[key] != then[key])
    assert sorted(found.change) == sorted(named(key, b"") for key in changed)


def test_it_is_said_in_few_lines_with_the_fleeting_last() -> None:
    events = [Object("events", "default", f"e{number}") for number in range(100_000)]
    secret = Object("secrets", "default", "password")
    said = Differences([*events, secret], [], []).lines()
    assert said[0] == "100001 objects would vanish: 100000 events, 1 secrets."
    assert said[1].startswith("  secrets default/password, events default/e0, ")
    assert said[1].endswith(" and 99991 more")
    assert sum(map(len, said)) < 500
    assert Differences([], [], []).lines() == ["Every object is now as it was then."]
