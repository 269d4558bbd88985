"""Errors and findings: boxed, placed, and harmless on a terminal."""

from pathlib import Path

from etcdplan.errors import EtcdplanError, RefusedError
from etcdplan.render.diagnostics import error_text, finding_text
from etcdplan.spec.lint import Finding
from etcdplan.spec.problems import Position, Problem, SpecInvalid


def test_an_error_is_boxed_with_its_hint() -> None:
    error = RefusedError("A guard refuses.\nNothing was done.", hint="Mend it.")
    assert error_text(error, color=False) == (
        "╷\n│ Error: A guard refuses.\n│ Nothing was done.\n│\n│ Mend it.\n╵"
    )


def test_every_problem_of_a_spec_stands_at_its_place() -> None:
    path = Path("prod.yaml")
    problems = [
        Problem(path, 12, 5, "spec.members[1].host", "is used twice", "give it another"),
        Problem(path, 3, 1, "", "is not YAML"),
        Problem(path, 0, 0, "", "cannot be read"),
    ]
    shown = error_text(SpecInvalid(problems), color=False)
    assert "│ Error: is used twice\n│ prod.yaml:12:5  spec.members[1].host\n│ give it another\n" in shown
    assert "│ Error: is not YAML\n│ prod.yaml:3:1\n╵" in shown
    assert "│ Error: cannot be read\n│ prod.yaml\n╵" in shown
    assert shown.endswith("3 problems in the specification.")


def test_more_problems_than_anybody_reads_are_counted() -> None:
    many = SpecInvalid([Problem(Path("a.yaml"), n, 1, "", "wrong") for n in range(1, 151)])
    shown = error_text(many, color=False)
    assert shown.count("Error: ") == 20
    assert shown.endswith("150 problems in the specification, 130 not shown.")


def test_a_finding_has_its_severity_and_code() -> None:
    for severity, word in (("error", "Error"), ("warning", "Warning"), ("note", "Note")):
        finding = Finding("EP101", severity, "spec.members", Position(9, 3), "four members", "use three")  # type: ignore[arg-type]
        shown = finding_text(finding, Path("prod.yaml"), color=False)
        assert shown == f"╷\n│ {word} EP101: four members\n│ prod.yaml:9:3  spec.members\n│ use three\n╵"


def test_control_characters_are_escaped_and_colour_is_ours_alone() -> None:
    evil = "\x1b[2J\x9b1A\u202egnp.exe\x07"
    problem = Problem(Path(evil), 1, 1, evil, evil, evil)
    finding = Finding("EP101", "warning", evil, Position(1, 1), evil, evil)
    for color in (True, False):
        shown = [
            error_text(EtcdplanError(evil, hint=evil), color=color),
            error_text(SpecInvalid([problem]), color=color),
            finding_text(finding, Path(evil), color=color),
        ]
        for text in shown:
            rest = text.replace("\x1b[31m", "").replace("\x1b[1;31m", "").replace("\x1b[33m", "")
            rest = rest.replace("\x1b[1;33m", "").replace("\x1b[0m", "").replace("\n", "")
            assert rest.isprintable()
            assert r"\x1b[2J" in rest


def test_an_error_without_words_still_names_itself() -> None:
    assert "Error: EtcdplanError" in error_text(EtcdplanError(""), color=False)


def test_long_lines_wrap_inside_the_box() -> None:
    shown = error_text(EtcdplanError("short", hint="word " * 60), color=False, width=60)
    assert max(map(len, shown.splitlines())) <= 60
