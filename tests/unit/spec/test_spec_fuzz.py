"""Whatever is in a file: a spec, or SpecInvalid with a position and in printable words."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from etcdplan.spec.lint import lint
from etcdplan.spec.load import load_spec, normalised, spec_digest
from etcdplan.spec.models import Spec
from etcdplan.spec.problems import SpecInvalid

EXAMPLES = sorted((Path(__file__).parents[3] / "examples").glob("*.yaml"))

TOKENS = [
    "&a ", "*a", "!!python/object:os.system ", "!x ", "- ", "? ", ": ", "{", "}", "[", "]", ", ", "'", '"', "|\n", ">",
    "\t", "\r", "\n---\n", "\n...\n", "# ", "%YAML 1.1\n", "<<: ", "~", "null", "on", "3.6", "0x1F", "1_000", "12:30",
    ".inf", ".nan", "-", "=", "2024-01-01", "1e400", "9" * 5000, "\x00", "\x85", "\u2028", "\ufeff", "\U0001f600",
    '"\\ud800"', '"\\e[31m"', "[" * 60, "::", "0.0.0.0", "name: x, ", "spec: {}\n", "members: []\n", "connect: {}\n",  # noqa: S104
]  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn) -> str:
    text = draw(st.sampled_from(EXAMPLES)).read_text()
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, min(len(text), start + 30)))
        lines = text.splitlines(keepends=True)
        one, other = draw(st.integers(0, len(lines))), draw(st.integers(0, len(lines)))
        match draw(st.sampled_from(["delete", "double", "replace", "inject", "swap", "drop"])):
            case "delete":
                text = text[:start] + text[end:]
            case "double":
                text = text[:end] + text[start:]
            case "replace":
                text = text[:start] + draw(st.text(max_size=5)) + text[end:]
            case "inject":
                text = text[:start] + draw(st.sampled_from(TOKENS)) + text[start:]
            case "swap" if one < len(lines) and other < len(lines):
                lines[one], lines[other] = lines[other], lines[one]
                text = "".join(lines)
            case _:
                text = "".join(lines[:one] + lines[one + 1 :])
    return text


def _check(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "spec.yaml")
        path.write_bytes(content)
        try:
            loaded = load_spec(path)
        except SpecInvalid as error:
            assert error.problems
            lines = content.count(b"\n") + content.count(b"\r") + 1
            for problem in error.problems:
                assert 1 <= problem.line <= lines
                assert problem.column >= 1
                assert problem.what
                assert str(problem).isprintable()
        else:
            lint(loaded)
            assert spec_digest(loaded.spec).startswith("sha256:")
            assert Spec.model_validate(normalised(loaded.spec)) == loaded.spec


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(mutated())
def test_mutated_examples(text: str) -> None:
    _check(text.encode("utf-8", "surrogatepass"))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes(content: bytes) -> None:
    _check(content)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from([*TOKENS, "a", " ", "\n", "spec", "kind: EtcdCluster"]), max_size=30))
def test_any_tokens(tokens: list[str]) -> None:
    _check("".join(tokens).encode())


@pytest.mark.parametrize("opening", ["[", "{", "- ", "? ", "{a: ", "!x ", "&a ", "'", "a: |\n "])
def test_a_megabyte_of_one_thing(opening: str) -> None:
    _check(opening.encode() * (1_000_000 // len(opening)))
