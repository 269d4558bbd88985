"""A member's file systems held still, under the cluster's lock, while something takes a snapshot of their volumes."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from etcdplan.apply.ready import ready
from etcdplan.apply.session import Session
from etcdplan.diff.target import Target
from etcdplan.diff.view import View
from etcdplan.errors import EtcdplanError, RefusedError
from etcdplan.hosts.ports import Claim, HostEffects
from etcdplan.model.state import Member, State, host_of

LONGEST: Final = 25
"""Seconds that what takes the snapshot may have."""
_MARGIN: Final = 5
"""Seconds after that in which the host is told to thaw; then it does so by itself."""


@dataclass(frozen=True, slots=True)
class Volumes:
    """What of a member is held still: its host, and the mount points there, the data's first."""

    member: str
    host: str
    mounts: tuple[str, ...]


def snapshot_volumes(
    session: Session, choose: Callable[[State], Member], seconds: float, take: Callable[[Volumes], None]
) -> tuple[Volumes, float]:
    """Freeze the member that `choose` names, have `take` take the snapshot in so many seconds, and thaw it, always.

    Returns what was frozen, and for how long at most, when the member serves again. Raises `RefusedError` before
    anything is done, what `HostEffects` raises, and what `take` raises; then there is no snapshot that counts.
    """
    if seconds > LONGEST:
        raise RefusedError(
            f"A member is frozen for {LONGEST} s at most, and the hook may take {seconds:g} s.",
            hint=f"Give it a timeout of {LONGEST}s or less; what takes longer it should only begin.",
        )
    with session.locked() as (lock, state):
        member = choose(state)
        _check_tolerated(session.target, state, member)
        host, run = host_of(member.peer_url), secrets.token_hex(8)
        effects = session.hosts.host(host).effects
        began = session.clock.monotonic()
        mounts = effects.freeze_data(Claim(lock.token, f"{run}-freeze"), int(seconds) + _MARGIN)
        try:
            take(volumes := Volumes(member.name, host, mounts))
        finally:
            _thaw(effects, Claim(lock.token, f"{run}-thaw"), host, mounts)
        frozen = session.clock.monotonic() - began
        ready(session.observe, session.clock, session.target.hosts())
        return volumes, frozen


def _check_tolerated(target: Target, state: State, member: Member) -> None:
    """Raise `RefusedError` when nothing could be written while that member stands still, unless that is declared."""
    quorum = View(target, state).quorum
    if quorum.tolerates < 1 and not (target.allow_outage and quorum.voters <= 2):
        raise RefusedError(
            f"Nothing can be written while {member.name} is frozen: the cluster tolerates no failure.",
            hint="Bring all members up first."
            if quorum.voters > 2
            else "Take an ordinary backup, or declare the outage with 'etcd.allowOutage: true'.",
        )


def _thaw(effects: HostEffects, claim: Claim, host: str, mounts: tuple[str, ...]) -> None:
    try:
        effects.thaw_data(claim)
    except EtcdplanError as error:
        error.hint = (
            "What the hook took is no snapshot; remove it. The host thaws by itself; see that it has:"
            f" fsfreeze --unfreeze {' '.join(mounts)} on {host} says 'Invalid argument' then."
        )
        raise
