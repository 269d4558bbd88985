"""Signals, and a terminal that goes away: the work stops in order, and hints can be copied."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from etcdplan.cli.cluster import LiveCluster
from etcdplan.cli.interrupt import interruptible
from etcdplan.cli.output import progress
from etcdplan.cli.session import session_of
from etcdplan.errors import StoppedError


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # Whatever the tests themselves were started with.
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
def test_a_signal_asks_to_stop(number: signal.Signals) -> None:
    told: list[bool] = []
    before = signal.getsignal(number)
    with interruptible(told.append) as stop:
        assert not stop()
        os.kill(os.getpid(), number)
        assert stop()
    assert told == [False]
    assert signal.getsignal(number) == before


def test_a_lost_terminal_sends_sighup_more_than_once(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)
    told: list[bool] = []
    with interruptible(told.append):
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGHUP)
        assert (told, ended) == ([False], [])
        os.kill(os.getpid(), signal.SIGINT)
        assert (told, ended) == ([False, True], [130])


def test_nohup_holds() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with interruptible(lambda _: None) as stop:
        os.kill(os.getpid(), signal.SIGHUP)
        assert not stop()


def test_progress_that_nobody_can_read_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(_: str) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(sys, "stderr", SimpleNamespace(write=gone, flush=lambda: None))
    progress("step 1")
    progress("step 2")


def test_hints_name_the_spec() -> None:
    spec = SimpleNamespace(spec=SimpleNamespace(backup=None))
    loaded = SimpleNamespace(path=Path("my specs/prod.yaml"), spec=spec)
    cluster = SimpleNamespace(
        loaded=loaded,
        signer=lambda _: None,
        target=SimpleNamespace(drain=None),
        archive=None,
        digest="",
        hosts=None,
        observe=None,
        clock=None,
        each=None,
    )
    with (
        pytest.raises(StoppedError) as caught,
        session_of(cast(LiveCluster, cluster), [], color=False),
    ):
        raise StoppedError("Stopped.", hint="Go on with: etcdplan apply --resume SPEC.")
    assert caught.value.hint == "Go on with:\n    etcdplan apply --resume 'my specs/prod.yaml'"
