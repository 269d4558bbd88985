"""What a step is: a target, and the effects that are left until it is reached."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from typing import Any, ClassVar

from etcdplan.model.effects import Effect, MoveLeader
from etcdplan.model.settle import settle
from etcdplan.model.state import State


class Step(ABC):
    """One entry of a plan. Subclasses are frozen dataclasses without secrets, one kind a module.

    A step names a target; `effects` lists what is left to do in a given state, so that a step cut in its middle
    proposes only the rest. `deadline` is the longest that the step may take, in seconds, waiting included.
    """

    kind: ClassVar[str]
    deadline: ClassVar[int] = 60
    destructive: ClassVar[bool] = False
    renewable: ClassVar[bool] = False
    """Whether time alone makes it due again; what it renews takes no part in comparing states."""
    unasked: ClassVar[bool] = False
    """Whether it may join any run, approved or not: it changes nothing of the cluster, and time alone makes it due."""

    @property
    @abstractmethod
    def subject(self) -> str:
        """The address of what the step is about, such as `member/member4`."""

    @abstractmethod
    def params(self) -> Mapping[str, Any]:
        """Return the target in JSON terms, without anything that the cluster chooses or that time changes."""

    @abstractmethod
    def effects(self, state: State) -> tuple[Effect, ...]:
        """Return what is left to do, in order; empty when the target is reached."""

    @abstractmethod
    def summary(self) -> str:
        """Return one line for people, in the imperative."""

    def restarts(self, state: State) -> tuple[str, ...]:
        """Return the units (`HOST/UNIT`) that run now and are stopped and started by the step."""
        return ()

    @property
    def id(self) -> str:
        """Return the step's identity: kind, subject and target, nothing else."""
        text = json.dumps([self.kind, self.subject, self.params()], sort_keys=True, separators=(",", ":"))
        return f"{self.kind}:{self.subject}:{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    def stages(self, state: State) -> tuple[State, ...]:
        """Return every state that the step passes through from here; the last one is its effect.

        Raises `ImpossibleEffect` when an effect cannot happen.
        """
        passed = []
        for effect in self.effects(state):
            state = effect.apply(state)
            passed.append(state)
        return tuple(passed)

    def after(self, state: State) -> State:
        """Return the state after the step, when time has done its part."""
        passed = self.stages(state)
        return settle(passed[-1] if passed else state)


def hand_over(state: State, peer_url: str, *, rather: Collection[str] = ()) -> tuple[Effect, ...]:
    """Return the effect that takes the leadership from a member that is about to go, if it leads.

    The members with the peer URLs `rather` are preferred to others.
    """
    if state.leader != peer_url:
        return ()
    membership = state.membership.get()
    voters = membership.voters() if membership else ()
    heirs = [voter.peer_url for voter in voters if voter.serving and voter.peer_url != peer_url]
    return (MoveLeader(min(heirs, key=lambda url: (url not in rather, url))),) if heirs else ()
