"""The command line about specs: every mistake has its place, a remedy and an exit code."""

import json
import re
from pathlib import Path

import pytest

from etcdplan.cli.app import run
from etcdplan.cli.pki import initialise
from tests.support.command_line import SPEC, words


def test_an_unreadable_file_is_an_error_and_no_usage_error(
    spec: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(path: Path, mode: str) -> object:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("os.access", lambda *_: False)
    monkeypatch.setattr(Path, "open", refuse)
    for command in ("validate", "plan", "status"):
        assert run([command, str(spec)]) == 1
        assert "cannot be read: Permission denied" in words(capsys)


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("", 1, "empty"),
        ("a: [1", 1, "not YAML"),
        (SPEC.replace("members:", "membres:"), 1, "did you mean 'members'?"),
        (SPEC.replace("member2, host", "member1, host"), 1, "member1"),
        (SPEC.replace("10.0.0.2", "10.0.0.1"), 1, "10.0.0.1"),
        (SPEC.replace("3.6.16", "3.6"), 1, "version"),
        ("a: &x [1]\nb: [*x, *x]\n", 1, "alias"),
        (SPEC.replace("pki/etcd-ca.crt", "pki/none.crt"), 1, "none.crt"),
    ],
)
def test_bad_specs_have_a_position_and_a_remedy(
    text: str, code: int, said: str, spec: Path, empty: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec.write_text(text)
    for command in (["validate", str(spec)], ["plan", str(spec), "--live", str(empty)]):
        assert run(command) == code
        message = words(capsys)
        assert said in message
        assert re.search(r"spec\.yaml:\d+:\d+", message), message


def test_validate_says_what_is_unwise_and_passes(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec.write_text(SPEC.replace("    - {name: member3, host: 10.0.0.3}\n", ""))
    assert run(["validate", str(spec)]) == 0
    assert re.search(r"EP\d{3}", capsys.readouterr().err)
    assert run(["validate", str(spec), "--json"]) == 0
    body = json.loads(capsys.readouterr().out)
    assert body["valid"] is True
    assert body["format_version"] == "1.0"
    assert body["warning_count"] >= 1


def test_keys_that_do_not_fit_are_told_before_any_host_is_asked(
    spec: Path, empty: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    initialise(tmp_path / "other", recipients=[])
    own = tmp_path / "own"
    initialise(own, recipients=[])
    spec.write_text(SPEC.replace("pki/", "own/"))
    (own / "etcd-ca.key").chmod(0o644)
    for command in (["validate", str(spec)], ["plan", str(spec), "--live", str(empty)]):
        assert run(command) == 0
        assert f"EP118: {own}/etcd-ca.key is open to other users" in words(capsys)
    (own / "operator.key").write_bytes((tmp_path / "other" / "operator.key").read_bytes())
    assert run(["validate", str(spec)]) == 0
    assert "EP119" in words(capsys)
    assert run(["status", str(spec)]) == 1
    assert f"{own}/operator.key is not the key of {own}/operator.crt" in words(capsys)
    (own / "operator.crt").write_bytes((tmp_path / "other" / "operator.crt").read_bytes())
    for command in ("validate", "plan", "status"):
        assert run([command, str(spec)]) == 1
        assert "was not issued by the CA" in words(capsys)


def test_a_bomb_does_not_fill_the_screen(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec.write_text(SPEC + "".join(f"surplus{number}: 1\n" for number in range(94)))
    assert run(["validate", str(spec)]) == 1
    said = capsys.readouterr().err
    assert said.count("Error:") == 20
    assert "94 problems in the specification, 74 not shown." in said
    assert run(["validate", str(spec), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["error_count"] == 94
