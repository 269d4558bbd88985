"""The lock's file on every host: what is in it, and reading it from all hosts that the lock is about."""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Final, Literal

from pydantic import TypeAdapter

from etcdplan.apply.holder import Holder
from etcdplan.errors import EtcdplanError, UnobservedError
from etcdplan.hosts.each import Each
from etcdplan.hosts.ports import (
    LOCK_FILE,
    HostOutcomeUnknown,
    HostRefused,
    HostStore,
    HostUnreachable,
    StoreReader,
)

SILENT: Final = (HostUnreachable, HostRefused, HostOutcomeUnknown)
"""What a host raises that does not do what the lock needs."""


@dataclass(frozen=True, slots=True)
class LockRecord:
    """The lock file of one host. `token` stays when the lock is released: it is the host's newest one.

    `heartbeat` counts; `heartbeat_time` is the holder's clock and only for people. `hosts` are those through which this
    holder, or one that it replaced, may call etcd: whoever comes next has to end the sessions that are recorded there.
    There are none when it was released in order.
    """

    format: Literal[1]
    token: int
    held: bool
    holder: Holder
    acquired: str
    heartbeat: int
    heartbeat_time: str
    hosts: tuple[str, ...] = ()

    def encode(self) -> bytes:
        """Return the file's content."""
        return json.dumps(asdict(self)).encode() + b"\n"


@cache
def _record() -> TypeAdapter[LockRecord]:
    return TypeAdapter(LockRecord)


@dataclass(frozen=True, slots=True)
class Answer:
    raw: bytes | None
    record: LockRecord | None

    @property
    def held(self) -> LockRecord | None:
        return self.record if self.record is not None and self.record.held else None


def read_lock(store: StoreReader) -> Answer | EtcdplanError:
    try:
        raw = store.read(LOCK_FILE)
    except SILENT as error:
        return error
    try:
        return Answer(raw, None if raw is None else _record().validate_json(raw, strict=True))
    except ValueError:
        return UnobservedError(f"{LOCK_FILE} is damaged or from a newer etcdplan")


def seen_lock(store: StoreReader) -> LockRecord | None:
    """Return a host's lock, held or not; nothing for a host that has none, is silent, or whose file is damaged."""
    return answer.record if isinstance(answer := read_lock(store), Answer) else None


class LockHosts:
    """The hosts that the lock is about, and how many of them are enough."""

    def __init__(
        self,
        sets: Sequence[Collection[str]],
        stores: Mapping[str, HostStore],
        gone: Collection[str],
        each: Each,
        reach: Callable[[str], HostStore] | None,
    ) -> None:
        self.sets = [left for hosts in sets if (left := frozenset(hosts) - frozenset(gone))]
        # Sorted: contenders meet at the same first host, so that one of them wins.
        self.stores = {host: stores[host] for host in sorted(stores) if host not in gone}
        self.each = each
        self._gone = frozenset(gone)
        self._reach = reach
        if not self.sets:
            raise UnobservedError("No host is left that could hold the lock.")

    def majority(self, hosts: Collection[str]) -> bool:
        return all(2 * len(members & frozenset(hosts)) > len(members) for members in self.sets)

    def ask(self) -> dict[str, Answer]:
        """Read the lock file of every host; raise `UnobservedError` when too few answer."""
        answers, why = self._ask(self.stores)
        if not self.majority(answers):
            raise self.too_few(why)
        return answers

    def ask_named(self) -> dict[str, Answer]:
        """Read as `ask` does, and then the hosts that a lock names; those that answer are hosts of this lock, too."""
        answers = self.ask()
        asked = {*self.stores}
        while self._reach and (left := sorted(self.named(answers) - asked)):
            stores = {host: self._reach(host) for host in left}
            found, _ = self._ask(stores)
            answers |= found
            self.stores = dict(sorted((self.stores | {host: stores[host] for host in found}).items()))
            asked |= {*left}
        return dict(sorted(answers.items()))

    def named(self, answers: Mapping[str, Answer]) -> frozenset[str]:
        """Return the hosts through which a former holder may still call etcd; those declared gone are left out."""
        records = (answer.record for answer in answers.values())
        return frozenset(host for record in records if record for host in record.hosts) - self._gone

    def unheard(self, named: Collection[str], answers: Collection[str]) -> frozenset[str]:
        """Return which of the named hosts do not answer; one that is in no set any more is declared gone by that."""
        return (frozenset(named) - frozenset(answers)) & frozenset[str]().union(*self.sets)

    def _ask(self, stores: Mapping[str, HostStore]) -> tuple[dict[str, Answer], dict[str, str]]:
        replies = dict(zip(stores, self.each(read_lock, stores.values()), strict=True))
        answers = {host: reply for host, reply in replies.items() if isinstance(reply, Answer)}
        return answers, {
            host: reply.message for host, reply in replies.items() if isinstance(reply, EtcdplanError)
        }

    def too_few(self, why: Mapping[str, str], hint: str = "") -> UnobservedError:
        wanted = sorted(frozenset[str]().union(*self.sets))
        lines = [
            f"{host}: {why.get(host, 'no access')}"
            for host in wanted
            if host in why or host not in self.stores
        ]
        return UnobservedError(
            "The lock needs a majority of the hosts, and too few can be used.\n" + "\n".join(lines),
            hint=hint or "Make these hosts reachable, or declare those gone that will not come back.",
        )
