"""Hosts that answer and refuse the lock are neither unreachable nor gone: what they lack is said."""

import pytest

from etcdplan.errors import UnobservedError
from etcdplan.hosts.ports import HostRefused, HostUnreachable
from tests.unit.apply.lock_world import here, stores, take


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (HostRefused("no right to run commands as root", hint="Give it one."), "Give it one."),
        (HostRefused("no room"), "Make these hosts reachable"),
        (HostUnreachable("no answer", hint="Wait."), "Make these hosts reachable"),
    ],
)
def test_too_few_hosts_take_the_lock(error: HostRefused | HostUnreachable, hint: str) -> None:
    world = stores()

    def called(name: str) -> None:
        if name == "replace":
            raise error

    for name in ("h1", "h2"):
        world[name].called = called
    with pytest.raises(UnobservedError, match=rf"h1: {error.message}\nh2: {error.message}") as too_few:
        take(world, here())
    assert too_few.value.hint.startswith(hint)
