"""systemd's syntax of unit files and command lines. Expectations are from systemd.syntax(7) and systemd.service(5)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etcdplan.hosts.remote.unit_text import Spanned, directives, quoted, split_words


def words(text: str) -> list[str]:
    return [word.text for word in split_words(Spanned(text, tuple(range(len(text))), len(text)))]


def values(text: str) -> list[tuple[str, str, str]]:
    return [(one.section, one.name, one.value.text) for one in directives(text)]


def test_sections_names_and_values() -> None:
    text = "# a\n; b\n[A]\nx = 1 \n\n  y=2=3\n[B]\nx=\n"
    assert values(text) == [("A", "x", "1"), ("A", "y", "2=3"), ("B", "x", "")]


def test_continued_lines_and_comments_between_them() -> None:
    text = "[S]\nA=one \\\n# not this\n   two\\\n; nor this\nthree\nB=4\\\\\nC=5\\"
    assert values(text) == [("S", "A", "one     two three"), ("S", "B", "4\\\\"), ("S", "C", "5")]


@pytest.mark.parametrize("text", ["[S]\nwhat", "[S\n", "[S]\nA=\\\nb\nwhat\n"])
def test_lines_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="the line"):
        values(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a b\tc", ["a", "b", "c"]),
        ('"a b" \'c "d\'', ["a b", 'c "d']),
        ('--x="a b"c', ["--x=a bc"]),
        (r"a\x20b \"q\" c\\d \s\t", ["a b", '"q"', "c\\d", " \t"]),
        (r"\101\u00e9", ["Aé"]),
        ("''", [""]),
        ("", []),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert words(text) == expected


@pytest.mark.parametrize("text", ['"a', "'", "\\q", "a\\", r"\x0", r"\x00", r"\9"])
def test_words_that_systemd_would_not_take(text: str) -> None:
    with pytest.raises(ValueError, match=r"escape|quote"):
        words(text)


@given(st.text(st.characters(min_codepoint=32, exclude_categories=["Cs", "Cc"])))
def test_what_is_quoted_is_one_word(word: str) -> None:
    assert words(f"a {quoted(word)} b") == ["a", word.replace("%", "%%").replace("$", "$$"), "b"]


@given(st.text("aA \t\\\n\"'#;=[]x1$%é"))
def test_nothing_makes_it_stumble(text: str) -> None:
    try:
        for one in directives(text):
            for word in split_words(one.value):
                assert 0 <= word.start < word.end <= len(text)
    except ValueError:
        pass
