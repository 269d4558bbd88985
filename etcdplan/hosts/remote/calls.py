"""Calls to etcd's members through a host, as effects of that host.

A call cannot show a token to etcd. So the host lets it through, once and for a time: until it has ended, or its time is
over, nobody else gets the host's guard, and thus nobody can take the lock over there. A controller that was frozen in
between finds its time over and does not call. Should it be frozen just before it calls, its tunnel is gone afterwards:
the host notes the SSH session that the call was let through, and whoever takes the lock over ends it.
"""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from etcdplan.errors import EtcdplanError, OutcomeUnknownError
from etcdplan.hosts.ports import Claim, EtcdReport, HostRefused
from etcdplan.hosts.remote.once import Effects
from etcdplan.model.facts import Fact
from etcdplan.model.machine import Figures

_LET_THROUGH = 20
_RPC_TIMEOUT = 9.0
"""etcd gives a proposal up after 7 s by itself."""

_SHORTEST = 2.0


class MemberCalls(Protocol):
    """What is called: the etcd at one client URL. Rejections and unknown outcomes are `EtcdplanError`s."""

    def member_add(self, peer_url: str, *, learner: bool, timeout: float) -> object:
        """Add a member."""
        ...

    def member_promote(self, member_id: int, *, timeout: float) -> object:
        """Promote a learner."""
        ...

    def member_remove(self, member_id: int, *, timeout: float) -> object:
        """Remove a member."""
        ...

    def move_leader(self, member_id: int, *, timeout: float) -> object:
        """Hand the leadership over."""
        ...

    def clear_corrupt(self, member_id: int, *, timeout: float) -> object:
        """Take back a CORRUPT alarm."""
        ...


class EtcdAccess(Protocol):
    """How etcd is reached through one host, or directly."""

    def ask(self, client_url: str, *, timeout: float) -> EtcdReport | None:
        """Return what the etcd there says; None when it does not answer in time."""
        ...

    def measure(self, client_url: str, *, timeout: float) -> Fact[Figures]:
        """Return what the etcd there has measured; unknown when it cannot be read in time."""
        ...

    def held(self, client_url: str, *, timeout: float) -> str | None:
        """Return what the etcd there holds, as a hash; None when it does not answer."""
        ...

    def members_behind(self, url: str, *, times: int, timeout: float) -> tuple[int, ...]:
        """Connect so many times through the host; return the member ID of each etcd that answered."""
        ...

    def at(self, client_url: str) -> MemberCalls:
        """Return the etcd there."""
        ...


@dataclass(frozen=True, slots=True)
class Calls:
    """The effects that are calls."""

    once: Effects
    access: EtcdAccess

    @contextlib.contextmanager
    def calling(self, claim: Claim, client_url: str, what: str) -> Iterator[tuple[MemberCalls, float]]:
        """Let one call through, and note how it went; yields what to call, and how long it may take in seconds."""
        what = f"{what} at {client_url}"
        # The tunnel first. It is on the connection whose session is noted next; should there be a new one by then,
        # the tunnel went with the old one.
        etcd, begun = self.access.at(client_url), time.monotonic()
        self.once.do(claim, "call", what, str(_LET_THROUGH))
        try:
            # The host counts whole seconds.
            left = begun + _LET_THROUGH - 2 - time.monotonic()
            if left < _SHORTEST:
                raise HostRefused(f"It took too long to {what}: nothing was called.", hint="Apply again.")
            yield etcd, min(left, _RPC_TIMEOUT)
        except OutcomeUnknownError as error:
            # It may still be on its way: the guard is let go only when the time is over.
            self.once.note(claim, "unknown", error.message, keep=True)
            raise
        except EtcdplanError as error:
            self.once.note(claim, "refused", error.message)
            raise
        self.once.note(claim, "done")
