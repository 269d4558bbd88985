"""The runs that the hosts remember: the newest one, and the end of old ones."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from itertools import takewhile
from typing import Final

from pydantic import TypeAdapter

from etcdplan.apply.journal import JournalDamaged, Record, RunStart, read_journal
from etcdplan.hosts.each import Each, in_turn
from etcdplan.hosts.ports import (
    JOURNAL_DIR,
    HostOutcomeUnknown,
    HostRefused,
    Hosts,
    HostStore,
    HostUnreachable,
    StoreReader,
)
from etcdplan.model.state import State

KEPT_RUNS: Final = 20
_NAME: Final = re.compile(r"\d{8,}-[\w-]+\.jsonl")
_SILENT: Final = (HostUnreachable, HostRefused, HostOutcomeUnknown)


@dataclass(frozen=True, slots=True)
class RunView:
    """A run as the journals tell it. `damaged` names the hosts whose copy cannot be trusted, and why."""

    start: RunStart
    records: tuple[Record, ...]
    damaged: Mapping[str, str]

    @property
    def ended(self) -> bool:
        """Whether nothing of it is left to do; else it stopped, died or still runs."""
        return any(record.type == "run-ended" for record in self.records)

    @property
    def begun(self) -> tuple[str, ...]:
        """The IDs of the steps that it began, in order."""
        return tuple(f"{r.body['step']}" for r in self.records if r.type == "step-intent")

    @property
    def stopped(self) -> str | None:
        """Why it stopped, when it had the time to say so."""
        return next((f"{r.body['reason']}" for r in self.records if r.type == "run-stopped"), None)


def stores_of(hosts: Hosts, state: State, kept: Mapping[str, StoreReader]) -> dict[str, StoreReader]:
    """Return where each host that answers keeps what applies have left: what a look has read along, or the host."""
    return {
        host.address: kept.get(host.address) or hosts.host(host.address).store
        for host in state.hosts.values()
        if not host.unreachable
    }


def latest_run(stores: Mapping[str, StoreReader], *, each: Each = in_turn) -> RunView | None:
    """Return the newest run that a reachable host remembers, from its longest valid copy.

    One of which no copy is valid is passed over when a majority of the hosts does not have it: nothing happens before a
    majority has the first line, so that is no run, but damage or a forgery. Else raises `JournalDamaged`.
    """
    passed_over: dict[str, str] = {}
    names = dict(zip(stores, each(_names, stores.values()), strict=True))
    for name in sorted({name for found in names.values() for name in found or ()}, key=_age, reverse=True):
        holders = [host for host, found in names.items() if name in (found or ())]
        without = [host for host, found in names.items() if found is not None and name not in found]
        contents = each(partial(_read, name=name), [stores[host] for host in holders])
        best: tuple[RunStart, tuple[Record, ...]] | None = None
        damaged: dict[str, str] = {}
        for host, content in zip(holders, contents, strict=True):
            try:
                found = _parse(content or b"")
            except JournalDamaged as error:
                damaged[host] = error.message
                continue
            if found is not None and (best is None or len(found[1]) > len(best[1])):
                best = found
        if best is not None:
            return RunView(*best, passed_over | damaged)
        if damaged and 2 * len(without) > len(stores):
            passed_over |= {host: f"{name}: {why}" for host, why in damaged.items()}
        elif damaged:
            raise JournalDamaged(
                "No copy of the newest journal is valid.\n"
                + "\n".join(f"{host}, {JOURNAL_DIR}/{name}: {why}" for host, why in damaged.items()),
                hint="Move these files away and plan again; a resume needs a valid copy.",
            )
    return None


def prune(stores: Mapping[str, HostStore], *, keep: int = KEPT_RUNS, each: Each = in_turn) -> None:
    """Empty all journals but the newest on every reachable host; hosts that fail are passed over."""

    def prune_one(store: HostStore) -> None:
        try:
            old = sorted(_names(store) or (), key=_age, reverse=True)[keep:]
            full = list(takewhile(lambda name: store.read(f"{JOURNAL_DIR}/{name}"), old))
            # The oldest first: then what is empty is always the oldest, and need not be read.
            for name in reversed(full):
                store.write(f"{JOURNAL_DIR}/{name}", b"")
        except _SILENT:
            return

    list(each(prune_one, stores.values()))


def hosts_of_newest(content: bytes) -> tuple[str, ...]:
    """Return the hosts of the spec that a journal's run was of; none when the journal cannot be read."""
    try:
        found = _parse(content)
    except JournalDamaged:
        return ()
    return found[0].hosts if found is not None else ()


def _parse(content: bytes) -> tuple[RunStart, tuple[Record, ...]] | None:
    """Return nothing for a run that died before its first line was whole: it had no effect."""
    records = read_journal(content).records
    if not records:
        return None
    try:
        if records[0].type != "run-started":
            raise ValueError(records[0].type)
        return _start().validate_python(records[0].body), records
    except ValueError as error:
        raise JournalDamaged("Line 1 of the journal is not the start of a run.") from error


@cache
def _start() -> TypeAdapter[RunStart]:
    return TypeAdapter(RunStart)


def _names(store: StoreReader) -> tuple[str, ...] | None:
    """Return the names of the journals; None when the host does not say."""
    try:
        return tuple(name for name in store.names(JOURNAL_DIR) if _NAME.fullmatch(name))
    except _SILENT:
        return None


def _read(store: StoreReader, name: str) -> bytes | None:
    try:
        return store.read(f"{JOURNAL_DIR}/{name}")
    except _SILENT:
        return None


def _age(name: str) -> tuple[int, str]:
    return int(name.partition("-")[0]), name
