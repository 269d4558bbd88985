"""Looking at a systemd host: one request, and another one only when its files name what nobody could foresee."""

import time
from collections.abc import Callable
from typing import TypeVar

from etcdplan.hosts.ports import HostUnreachable
from etcdplan.hosts.remote.layout import Layout
from etcdplan.hosts.remote.script import look
from etcdplan.hosts.remote.view import NotLookedAt, View, parse
from etcdplan.hosts.shell import Shell

T = TypeVar("T")

_LIMIT = 8 << 20
_LOOKS = 4


def inspect(
    shell: Shell, layout: Layout, conclude: Callable[[View], T], *, timeout: float, kept: bool = False
) -> tuple[T, float]:
    """Return what `conclude` makes of the host, and by how many seconds at least its clock is ahead (negative: behind).

    With `kept` etcdplan's own directory is read along.

    Looks again as long as `conclude` raises `NotLookedAt`. Raises `HostUnreachable`.
    """
    deadline = time.monotonic() + timeout
    named = [f"={unit}" for unit in layout.api_servers.values() if unit]
    more = [f"@{layout.source}"] if layout.source else []
    more += ["."] if kept else []
    for _ in range(_LOOKS):
        before, left = time.time(), deadline - time.monotonic()
        # /readyz waits up to 2 s for etcd; a look that is soon repeated shall not take the host for silent by that.
        patience = f"{max(0.1, min(2.0, left / 2)):.1f}"
        asked = (layout.etcd_unit, patience, layout.data_dir, *named, *more)
        answer = look(shell, ["look"], "inspect", *asked, timeout=left, limit=_LIMIT)
        after = time.time()
        try:
            view = parse(answer)
            # It was read somewhere in between.
            return conclude(view), max(view.now - after, 0) + min(view.now - before, 0)
        except NotLookedAt as missing:
            more += [missing.argument] if missing.argument else []
        except ValueError as error:
            raise HostUnreachable(
                f"Host {shell.address} gave an answer that makes no sense: {error}."
            ) from error
    raise HostUnreachable(
        f"Host {shell.address} names ever more files and directories of etcd ({', '.join(more)})."
    )
