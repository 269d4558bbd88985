"""The command line about plans: what is printed, saved, shown, and taken for a plan to apply."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from etcdplan.cli.app import run
from etcdplan.diff.target import Target
from etcdplan.model.state import Host, State
from etcdplan.planner.document import parse
from tests.support.command_line import save, words


def test_plan_exit_codes(
    spec: Path, empty: Path, converged: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["plan", str(spec), "--live", str(empty)]) == 0
    assert "Plan: " in capsys.readouterr().out
    assert run(["plan", str(spec), "--live", str(empty), "--detailed-exitcode"]) == 2
    assert "Plan: " in capsys.readouterr().out
    assert run(["plan", str(spec), "--live", str(converged), "--detailed-exitcode"]) == 0
    assert "No changes. The cluster matches the specification." in capsys.readouterr().out


def test_a_refused_plan_exits_5_or_8_and_says_why(
    spec: Path, tmp_path: Path, target: Target, capsys: pytest.CaptureFixture[str]
) -> None:
    hosts = {host: Host(host) for host in target.hosts()}
    hosts["10.0.0.2"] = replace(hosts["10.0.0.2"], unreachable="no route to host")
    assert run(["plan", str(spec), "--live", str(save(tmp_path / "live.json", State(hosts)))]) == 8
    out = capsys.readouterr().out
    assert "10.0.0.2" in out
    assert "no route to host" in out


def test_a_saved_plan_is_what_json_and_show_print(
    spec: Path, empty: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "plan.json"
    assert run(["plan", str(spec), "--live", str(empty), "--out", str(out), "--json"]) == 0
    printed = capsys.readouterr().out
    assert printed == out.read_text()
    assert out.stat().st_mode & 0o777 == 0o600
    assert parse(out.read_bytes(), "plan.json").format_version == "1.0"
    assert run(["show", str(out), "--format", "json"]) == 0
    assert capsys.readouterr().out == printed
    assert run(["show", str(out)]) == 0
    assert "Plan: " in capsys.readouterr().out
    assert run(["show", str(out), "--format", "markdown"]) == 0
    assert "<details>" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("spoil", "code", "said"),
    [
        (lambda text: text[: len(text) // 2], 1, "not a whole plan file"),
        (lambda text: text.replace("member3", "member9"), 3, "checksum differs"),
        (
            lambda text: text.replace('"format_version": "1.0"', '"format_version": "2.0"'),
            1,
            "plan format '2.0'",
        ),
        (lambda text: "{}", 1, "plan format None"),
        (lambda text: text.replace('"steps"', '"stairs"'), 1, "not a valid plan file"),
    ],
    ids=["truncated", "edited", "newer", "no plan", "strange"],
)
def test_a_damaged_plan_is_not_applied(
    spoil: Callable[[str], str],
    code: int,
    said: str,
    spec: Path,
    empty: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "plan.json"
    run(["plan", str(spec), "--live", str(empty), "--out", str(out)])
    capsys.readouterr()
    out.write_text(spoil(out.read_text()))
    for command in ("apply", "show"):
        assert run([command, str(out)]) == code
        assert said in words(capsys)


@pytest.mark.parametrize("content", [b"", b"\n \n", b"\x00\x01", b"\xff\xfe"])
def test_what_is_neither_plan_nor_spec_is_not_taken_for_a_spec(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "plan.json"
    out.write_bytes(content)
    assert run(["apply", str(out)]) == 1
    said = words(capsys)
    assert "neither a plan nor a spec" in said
    assert "specification" not in said
    assert run(["show", str(out)]) == 1
    assert "plan.json is " in words(capsys)


def test_apply_says_what_goes_with_a_saved_plan(
    spec: Path, empty: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "my plan.json"
    run(["plan", str(spec), "--live", str(empty), "--out", str(out)])
    capsys.readouterr()
    assert run(["apply", str(out), "--auto-approve"]) == 64
    said = words(capsys)
    assert "its own approval" in said
    assert "--resume" not in said
    assert run(["apply", str(out), "--resume"]) == 64
    assert "takes the spec" in words(capsys)
    spec.rename(tmp_path / "moved.yaml")
    assert run(["apply", str(out)]) == 1
    assert f"etcdplan apply '{out}' --spec SPEC" in words(capsys)


@pytest.mark.parametrize("place", ["missing/plan.json", "folder"])
def test_a_plan_that_cannot_be_saved_names_its_place_and_a_remedy(
    place: str, spec: Path, empty: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "folder").mkdir()
    for command in (["plan", str(spec), "--live", str(empty), "--out", str(tmp_path / place)],):
        assert run(command) == 1
    said = words(capsys)
    assert f"{place} cannot be written: " in said
    assert "Name a file in a directory that exists" in said
    assert "plan.json." not in said
    assert [one.name for one in tmp_path.iterdir() if one.name.startswith(".")] == []


def test_show_does_not_say_that_it_saved_anything(
    spec: Path, empty: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "plan.json"
    run(["plan", str(spec), "--live", str(empty), "--out", str(out)])
    assert f"Saved the plan to: {out}\nTo carry out exactly this plan:\n" in capsys.readouterr().out
    run(["show", str(out)])
    shown = capsys.readouterr().out
    assert "Saved" not in shown
    assert shown.endswith(f"To carry out exactly this plan:\n    etcdplan apply {out}\n")


@pytest.mark.parametrize(
    "edit",
    [lambda steps: steps.pop(0), lambda steps: steps[0]["params"].update(authorities=["f" * 64])],
    ids=["a step less", "another parameter"],
)
def test_an_edited_plan_with_a_new_checksum_is_not_applied(
    edit: Callable[[list[dict[str, dict[str, object]]]], object],
    spec: Path,
    empty: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from etcdplan.planner.document import sha256

    out = tmp_path / "plan.json"
    run(["plan", str(spec), "--live", str(empty), "--out", str(out)])
    capsys.readouterr()
    body = json.loads(out.read_text())
    edit(body["steps"])
    del body["checksum"]
    out.write_text(json.dumps({**body, "checksum": sha256(body)}))
    assert run(["apply", str(out)]) == 3
    assert "do not have the digest" in words(capsys)
