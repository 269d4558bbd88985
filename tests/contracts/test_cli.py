"""The command line as a contract: exit codes, streams, formats, and plain words for every bad input."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from etcdplan.cli.app import run
from etcdplan.cli.pki import initialise
from etcdplan.diff.target import Target
from etcdplan.errors import EXIT_CODES
from etcdplan.model.saved import dump_state
from etcdplan.model.state import Host, State
from etcdplan.planner.document import parse
from etcdplan.planner.unroll import unroll

ROOT = Path(__file__).parents[2]
SPEC = """\
apiVersion: etcdplan/v1
kind: EtcdCluster
metadata: {name: contract}
spec:
  etcd: {version: 3.6.16, runtime: process}
  members:
    - {name: member1, host: 10.0.0.1}
    - {name: member2, host: 10.0.0.2}
    - {name: member3, host: 10.0.0.3}
  tls:
    ca: {certificate: pki/etcd-ca.crt, key: pki/etcd-ca.key}
    operator: {certificate: pki/operator.crt, key: pki/operator.key}
"""


@pytest.fixture(autouse=True)
def _no_labs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ETCDPLAN_LAB_HOME", str(tmp_path / "labs"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("pki")
    initialise(directory / "pki", recipients=[])
    return directory / "pki"


@pytest.fixture
def spec(tmp_path: Path, pki: Path) -> Path:
    (tmp_path / "pki").symlink_to(pki)
    path = tmp_path / "spec.yaml"
    path.write_text(SPEC)
    return path


@pytest.fixture
def target(spec: Path) -> Target:
    from etcdplan.cli.cluster import load

    return load(spec).target


def save(path: Path, state: State) -> Path:
    """Write a state as `observe -o` does."""
    path.write_text(json.dumps(dump_state(state)))
    return path


@pytest.fixture
def empty(tmp_path: Path, target: Target) -> Path:
    hosts = {host: Host(host) for host in target.hosts()}
    return save(tmp_path / "empty.json", State(hosts))


@pytest.fixture
def converged(tmp_path: Path, target: Target) -> Path:
    plan = unroll(target, State({host: Host(host) for host in target.hosts()}))
    return save(tmp_path / "converged.json", plan.steps[-1].after)


def words(capsys: pytest.CaptureFixture[str]) -> str:
    """Return what was said on standard error, as one line without the box."""
    return " ".join(re.sub("[╷│╵]", " ", capsys.readouterr().err).split())


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
