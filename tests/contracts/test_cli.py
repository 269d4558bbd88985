"""The command line as a contract: exit codes, streams, and plain words for every bad command line."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from etcdplan.cli.app import run
from etcdplan.diff.target import Target
from etcdplan.errors import EXIT_CODES
from etcdplan.model.state import Host, State
from tests.support.command_line import words

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["frobnicate"], 64, "No such command"),
        (["plan"], 64, "Missing argument"),
        (["plan", "{spec}", "--nonsense"], 64, "No such option"),
        (["show", "{spec}", "--format", "html"], 64, "html"),
        (["apply", "{spec}", "--spec", "{spec}"], 64, "--spec goes with a saved plan"),
        (["pki", "init"], 64, "encrypted with age, or plain"),
        (["lab", "up", "--members", "12"], 64, "--members"),
        (["plan", "/nonexistent.yaml"], 1, "cannot be read"),
        (["apply", "/nonexistent.json"], 1, "cannot be read"),
        (["plan", "{spec}"], 1, "no lab 'contract'"),
        (["status", "{spec}"], 1, "metadata.name is the name of the lab"),
        (["plan", "{spec}", "--live", "{spec}"], 1, "not a saved state"),
        (["plan", "{spec}", "--live", "/nonexistent"], 1, "/nonexistent"),
        (["show", "/nonexistent"], 1, "/nonexistent"),
        (["show", "{spec}"], 1, "not a whole plan file"),
        (["lab", "break", "member1", "--lab", "none"], 1, "no lab 'none'"),
    ],
)
def test_bad_command_lines(
    arguments: list[str], code: int, said: str, spec: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([argument.format(spec=spec) for argument in arguments]) == code
    assert said in words(capsys)


@pytest.fixture
def unfounded(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the cluster be reached, with nothing on its hosts."""
    from contextlib import contextmanager

    from etcdplan.cli import cluster

    state = State({host: Host(host) for host in target.hosts()})

    @contextmanager
    def connect(loaded: cluster.Cluster, identities: object, *, wrap: object = None) -> Iterator[object]:
        class Live:
            target = loaded.target
            digest = loaded.digest
            advice = loaded.advice

            @staticmethod
            def observe(*, measure: bool) -> State:
                return state

            @staticmethod
            def notes(state: State) -> tuple[str, ...]:
                return ()

        yield Live()

    monkeypatch.setattr(cluster, "connect", connect)


@pytest.mark.usefixtures("unfounded")
def test_no_terminal_and_no_approval_is_64(
    spec: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with spec.open() as not_a_terminal:
        monkeypatch.setattr(sys, "stdin", not_a_terminal)
        assert run(["apply", str(spec)]) == 64
    assert "no terminal" in words(capsys)


@pytest.mark.usefixtures("unfounded")
@pytest.mark.parametrize("answer", ["no", "", "Yes", EOFError(), KeyboardInterrupt()], ids=repr)
def test_what_is_not_approved_changes_nothing_and_says_so(
    answer: str | BaseException,
    spec: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def ask(_: str) -> str:
        if isinstance(answer, BaseException):
            raise answer
        return answer

    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr("builtins.input", ask)
    assert run(["apply", str(spec)]) == 64
    assert "Not approved. Nothing was changed." in words(capsys)


def test_keys_are_encrypted_or_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    identity = tmp_path / "identity.txt"
    assert run(["pki", "init", "--dir", str(tmp_path / "pki"), "--new-identity", str(identity)]) == 0
    key = tmp_path / "pki" / "etcd-ca.key.age"
    assert key.read_bytes().startswith(b"age-encryption.org/v1")
    assert b"PRIVATE" not in key.read_bytes()
    assert identity.stat().st_mode & 0o777 == 0o600
    assert (
        run(["pki", "init", "--dir", str(tmp_path / "pki"), "--new-identity", str(tmp_path / "other")]) == 1
    )
    assert "not overwritten" in words(capsys)
    assert not (tmp_path / "other").exists()


def test_exit_codes_are_the_same_everywhere(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["exit-codes", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)["exit_codes"]
    assert {int(code): text for code, text in printed.items()} == EXIT_CODES
    readme = (ROOT / "README.md").read_text()
    for code, text in EXIT_CODES.items():
        assert f"{code:>4}  {text}\n" in readme


def test_the_readme_names_every_command_and_no_other(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    helped = set(re.findall(r"^ {2,4}([a-z][a-z-]+) {2,}\S", capsys.readouterr().out, re.MULTILINE))
    readme = (ROOT / "README.md").read_text().split("## Commands")[1].split("## ")[0]
    named = set(re.findall(r"etcdplan ([a-z-]+)", readme))
    assert named == helped


def test_schema_prints_the_committed_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["schema"]) == 0
    assert capsys.readouterr().out == (ROOT / "schemas" / "spec.schema.json").read_text()


def test_version_and_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "etcdplan", "--version"], capture_output=True, text=True, check=True
    )
    assert re.fullmatch(r"etcdplan \d+\.\d+\.\d+\n", done.stdout)


def test_no_colour_in_pipes_or_when_unwanted(
    spec: Path, empty: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("FORCE_COLOR", "1")
    run(["plan", str(spec), "--live", str(empty)])
    run(["plan"])
    captured = capsys.readouterr()
    assert "\x1b" not in captured.out + captured.err
