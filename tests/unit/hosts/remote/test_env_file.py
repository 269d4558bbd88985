"""Environment files as systemd reads them (systemd.exec(5), EnvironmentFile=)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etcdplan.hosts.remote.env_file import assign, assignments, environment


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A=1\nB = 2 \n", {"A": "1", "B": "2"}),
        ("# A=1\n;A=2\n\nA=3", {"A": "3"}),
        ("A=1\nA=2\n", {"A": "2"}),
        ('A="one two"\n', {"A": "one two"}),
        ("A='$x `y` \\ \"'\n", {"A": '$x `y` \\ "'}),
        ('A="\\$x \\"y\\" \\\\ \\n"\n', {"A": '$x "y" \\ \\n'}),
        ("A=one \\\n  two\nB=3\n", {"A": "one   two", "B": "3"}),
        ('A="one \\\n two"\n', {"A": "one  two"}),
        ('A="one\ntwo"\n', {"A": "one\ntwo"}),
        ("A=$HOME/x#y ;z\n", {"A": "$HOME/x#y ;z"}),
        ("A=a\\ \nB=\\\\\n", {"A": "a ", "B": "\\"}),
        ("A=grün\n", {"A": "grün"}),
        ("export A=1\n1A=2\nnothing\nB=\n", {"B": ""}),
        ('A="x" y\n', {"A": "xy"}),
        ("A=x\"y\"'z'\n", {"A": "x\"y\"'z'"}),
        ("A=1\r\nB=2\r\n", {"A": "1", "B": "2"}),
    ],
)
def test_what_is_read(text: str, expected: dict[str, str]) -> None:
    assert environment(text) == expected


@pytest.mark.parametrize("text", ["# comment \\\nA=1\n", 'A="x\n', "A='x"])
def test_what_versions_of_systemd_read_differently(text: str) -> None:
    with pytest.raises(ValueError, match=r"backslash|quote"):
        environment(text)


def test_everything_else_stays() -> None:
    text = "# héllo\nX='a b'\n  A = 1\nA=2\n\nC=3 \\\n  4\nB=5"
    assert assign(text, {"A": "9", "B": None, "D": "x y"}) == (
        "# héllo\nX='a b'\nA=9\n\nC=3 \\\n  4\nD=\"x y\"\n"
    )


def test_nothing_changes_when_it_says_that_already() -> None:
    text = "A='1'\nB=2"
    assert assign(text, {"A": "1", "C": None}) == text


@given(
    st.text("AB=1 #;\"'\\\n$`é\t"),
    st.dictionaries(
        st.sampled_from("ABC"),
        st.none() | st.text(st.characters(min_codepoint=32, exclude_categories=["Cs", "Cc"])),
    ),
)
def test_what_is_assigned_is_read_back(text: str, values: dict[str, str | None]) -> None:
    try:
        before = environment(text)
    except ValueError:
        return
    after = environment(assign(text, values))
    wanted = {name: value for name, value in values.items() if value is not None}
    assert after == {name: value for name, value in before.items() if name not in values} | wanted


@given(st.text("AB=1 #;\"'\\\n$`é\t\r"))
def test_places_are_in_the_file(text: str) -> None:
    try:
        found = assignments(text)
    except ValueError:
        return
    for one in found:
        assert one.line < one.start <= one.end <= len(text)
        assert text[one.line : one.start].rstrip("=").strip() == one.name
        assert len(one.value.at) == len(one.value.text)
