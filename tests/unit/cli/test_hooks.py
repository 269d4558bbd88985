"""Hooks are the runner's: only its own configuration says what is run, and nothing is waited for without end."""

import os
import time
from pathlib import Path

import pytest

from etcdplan.cli.hooks import ConfigError, Hooks
from etcdplan.errors import RefusedError, StoppedError


def configure(tmp_path: Path, text: str, mode: int = 0o600) -> Hooks:
    config = tmp_path / "config.yaml"
    config.write_text(text)
    config.chmod(mode)
    return Hooks.here({"ETCDPLAN_CONFIG": str(config)})


def script(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "hook"
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)
    return file


def test_a_hook_gets_the_api_server_and_the_action(tmp_path: Path) -> None:
    told = tmp_path / "told"
    hook = script(tmp_path, f'printf "%s|" "$@" >{told}; cat >>{told}')
    hooks = configure(tmp_path, f'hooks: {{lb: {{command: [{hook}, "a b", "$HOME"]}}}}')
    hooks.run("lb", "cp1", "drain")
    assert told.read_text() == "a b|$HOME|cp1|drain|"


@pytest.mark.parametrize(
    ("text", "said"), [("exit 3", "ended with status 3"), ("kill -9 $$", "ended with status -9")]
)
def test_a_hook_that_fails_stops_the_run(tmp_path: Path, text: str, said: str) -> None:
    hooks = configure(tmp_path, f"hooks: {{lb: {{command: [{script(tmp_path, text)}]}}}}")
    with pytest.raises(StoppedError, match=f"lb .cp1 undrain. {said}"):
        hooks.run("lb", "cp1", "undrain")


def test_a_hook_that_hangs_is_killed_with_all_that_it_started(tmp_path: Path) -> None:
    hook = script(tmp_path, f"sleep 600 & echo $! >{tmp_path}/pid; wait")
    hooks = configure(tmp_path, f"hooks: {{lb: {{command: [{hook}], timeout: 1s}}}}")
    with pytest.raises(StoppedError, match="took longer than 1 s"):
        hooks.run("lb", "cp1", "drain")
    pid = (tmp_path / "pid").read_text().strip()
    deadline = time.monotonic() + 30
    while (stat := Path(f"/proc/{pid}/stat")).exists() and stat.read_text().split()[2] != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_program_that_is_not_there_is_said(tmp_path: Path) -> None:
    hooks = configure(tmp_path, "hooks: {lb: {command: [/nonexistent/hook]}}")
    with pytest.raises(StoppedError, match="cannot be run: No such file"):
        hooks.run("lb", "cp1", "drain")


def test_a_hook_that_nobody_defined_is_refused(tmp_path: Path) -> None:
    for hooks in (
        configure(tmp_path, "hooks: {other: {command: [/bin/true]}}"),
        Hooks.here({"XDG_CONFIG_HOME": str(tmp_path)}),
    ):
        with pytest.raises(RefusedError, match="the hook 'lb', and this runner does not define it"):
            hooks.require("lb")


def test_the_users_configuration_is_found(tmp_path: Path) -> None:
    (tmp_path / "etcdplan").mkdir()
    (tmp_path / "etcdplan/config.yaml").write_text("hooks: {lb: {command: [/bin/true], timeout: 2m}}")
    (tmp_path / "etcdplan/config.yaml").chmod(0o644)
    hooks = Hooks.here({"XDG_CONFIG_HOME": str(tmp_path)})
    hooks.require("lb")
    assert hooks.by_name["lb"].timeout == 120_000


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hooks: {lb: {command: []}}", "hooks.lb.command"),
        ("hooks: {lb: {command: /bin/true}}", "hooks.lb.command"),
        ("hooks: {lb: {command: [/bin/true], timeout: 30}}", "hooks.lb.timeout: .*no unit"),
        ("hooks: {lb: {command: [/bin/true], timeout: 1h}}", "hooks.lb.timeout"),
        ("hooks: {LB!: {command: [/bin/true]}}", "hooks.LB!"),
        ("hook: {}", "wrong at hook"),
        ("[]", "wrong at its top"),
        ("hooks: {lb: [", "config.yaml:1"),
    ],
)
def test_a_wrong_configuration_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        configure(tmp_path, text)


def test_a_configuration_that_others_may_write_is_refused(tmp_path: Path) -> None:
    for mode in (0o620, 0o602):
        with pytest.raises(ConfigError, match="others than you may write it"):
            configure(tmp_path, "hooks: {}", mode)
    with pytest.raises(ConfigError, match="cannot be read"):
        Hooks.here({"ETCDPLAN_CONFIG": str(tmp_path / "none")})
    file = tmp_path / "config.yaml"
    file.chmod(0o600)
    if os.geteuid() == 0:
        os.chown(file, 1234, 1234)
        with pytest.raises(ConfigError, match="others than you"):
            Hooks.here({"ETCDPLAN_CONFIG": str(file)})
