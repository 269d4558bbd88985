"""What an etcd cluster is made of in the fake world: an agreed log, and the data directories that hold parts of it.

Written from etcd's documentation and sources alone: it shares nothing with `etcdplan.model`, which it is the check on.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.fake_machine import FakeProcess


@dataclass(frozen=True, slots=True)
class FakeMember:
    """An entry of the member list. It has no name until it has run, unless the bootstrap named it."""

    id: int
    name: str
    peer_url: str
    client_urls: tuple[str, ...]
    learner: bool


Config = Mapping[int, FakeMember]
"""A member list, by ID."""


@dataclass(eq=False)
class FakeCluster:
    """One log that a quorum agreed on. A second founding with the same ID is another object."""

    id: int
    history: list[tuple[int, Config]]
    """Every member list, with the index from which it holds."""
    committed: int
    removed: dict[int, int] = field(default_factory=dict)
    """The IDs that were removed, each with the index of its removal."""
    fed: set[int] = field(default_factory=set)
    """The IDs that a leader has ever sent its log to."""
    acked: int = 0
    """The index of the last write that a client got an acknowledgement for."""
    leader: "FakeProcess | None" = None
    election_at: float = 0.0
    ever_led: bool = False
    client_urls: set[str] = field(default_factory=set)
    """Every client URL that was ever published."""
    corrupt: set[int] = field(default_factory=set)
    """The members that a CORRUPT alarm stands for; 0 is nobody in particular."""

    def config(self, applied: int) -> Config:
        """Return the member list as somebody knows it who has applied the log up to there."""
        for index, members in reversed(self.history):
            if index <= applied:
                return members
        return {}

    @property
    def members(self) -> Config:
        """The member list as it is."""
        return self.history[-1][1]

    def commit(self, members: Config) -> None:
        """Append a new member list to the log."""
        self.committed += 1
        for gone in self.members.keys() - members.keys():
            self.removed[gone] = self.committed
        for member in members.values():
            self.client_urls.update(member.client_urls)
        self.history.append((self.committed, members))


@dataclass(eq=False)
class FakeData:
    """A data directory. `foreign` says what else is in it; `corrupt` means that etcd panics on it."""

    cluster: FakeCluster | None = None
    member_id: int = 0
    applied: int = 0
    forgetful: bool = False
    """It was made for an identity that had a log before: the leader counts on entries that are not there."""
    corrupt: bool = False
    foreign: str = ""
    altered: str = ""
    """What it holds that the others do not."""


def hashed_id(*parts: bytes) -> int:
    """Return the first eight bytes of the parts' SHA-1, big-endian, as etcd makes all its IDs."""
    return int(hashlib.sha1(b"".join(parts)).hexdigest()[:16], 16)


def founder_id(peer_url: str, token: str) -> int:
    """Return the ID that a bootstrap gives to a member."""
    return hashed_id(peer_url.encode(), token.encode())


def newcomer_id(peer_url: str, unix_seconds: int) -> int:
    """Return the ID that MemberAdd gives to a member: no token, but the time."""
    return hashed_id(peer_url.encode(), str(unix_seconds).encode())


def founded_id(member_ids: Iterable[int]) -> int:
    """Return the ID of the cluster that these members bootstrap."""
    return hashed_id(*(number.to_bytes(8, "big") for number in sorted(member_ids)))
