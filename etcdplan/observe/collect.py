"""The live state: every host at once, each with a deadline; strictly read-only."""

import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from typing import TypeVar

from etcdplan.diff.target import Target
from etcdplan.hosts.each import Each, in_turn
from etcdplan.hosts.ports import EtcdReport, HostReport, Hosts, HostUnreachable, LeafFile, StoreReader
from etcdplan.model.corruption import Corruption
from etcdplan.model.facts import ABSENT, Fact, known, unknown
from etcdplan.model.machine import Figures
from etcdplan.model.state import (
    Host,
    Leaf,
    Membership,
    Process,
    Record,
    State,
    Unit,
    api_server_unit,
    host_of,
)
from etcdplan.observe.membership import compose
from etcdplan.observe.record import decode_record

T = TypeVar("T")
R = TypeVar("R")

PATIENCE = 5.0
"""Seconds that one host may take to answer before anything is concluded from its silence."""
MEASURING = 2.0
"""Seconds that an etcd which has answered may take to say what it measured."""
LOG_SEGMENT = 64 * 1024**2
"""Bytes that etcd allocates for its next piece of log (etcd `server/storage/wal/wal.go`, SegmentSizeBytes)."""
HASHING = 60.0
"""Seconds that an etcd may take to hash all its keys, while a CORRUPT alarm stands."""
_CORRUPT = re.compile(r"^(?:memberID:(\d+)\s+)?alarm:CORRUPT")
"""How etcd's Status words the alarm; nobody's has no member ID."""
HUNG_AFTER = 60
"""Seconds after its start when a process that does not answer, though the cluster does, counts as hung."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """How certificates are read: `leaf` describes one against the spec's CA, `authorities` fingerprints a bundle.

    Both raise `ValueError` or an `EtcdplanError` for what they cannot read.
    """

    leaf: Callable[[LeafFile], Leaf]
    authorities: Callable[[bytes], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class _Seen:
    """What one host gave: a report, or why there is none; its etcd's answer; its record, and when that was written."""

    address: str
    report: HostReport | None
    why: str
    etcd: EtcdReport | None
    record: Fact[Record]
    written: str = ""
    figures: Fact[Figures] = ABSENT


def observe(
    target: Target,
    hosts: Hosts,
    credentials: Credentials,
    *,
    now: int,
    each: Each = in_turn,
    timeout: float = PATIENCE,
    hints: Collection[str] = (),
    measure: bool = False,
    kept: dict[str, StoreReader] | None = None,
) -> State:
    """Look at every host that the spec names, that a member lives on, or that a host remembers.

    `hints` are hosts that may once have been the cluster's; they count only if they remember that.

    With `measure` the etcds are asked for what they have measured, too. `kept` gets what was read along of the hosts'
    own directories.

    `now` is unix seconds, `timeout` seconds a host; a look shorter than `PATIENCE` takes nobody for hung. Never raises
    for what is on hosts: what cannot be read is an unknown fact.
    """

    def look(address: str) -> _Seen:
        return _look(target, hosts, address, timeout, measure=measure, kept=kept is not None)

    seen: dict[str, _Seen] = {}
    named = target.hosts()
    wanted = list(dict.fromkeys((*named, *hints)))
    aside: dict[str, _Seen] = {}
    while wanted:
        # A hint that does not answer is not waited for a second time when a member list names it, too.
        new = [address for address in wanted if address not in aside]
        found = [aside[address] for address in wanted if address in aside]
        found += each(look, new)
        if not seen:
            others = (one for one in found if one.address not in named and not _remembers(one, target))
            aside = {one.address: one for one in others}
            found = [one for one in found if one.address not in aside]
        seen.update((one.address, one) for one in found)
        wanted = [address for address in dict.fromkeys(_named(seen.values())) if address not in seen]
    # What is on a host was read before the member lists: a newcomer that came up in between has no data in that report,
    # and would be taken for a member that lost it.
    doubtful = list(_started_without_data(seen.values()))
    seen.update(zip(doubtful, each(look, doubtful), strict=True))
    if kept is not None:
        kept |= {one.address: one.report.kept for one in seen.values() if one.report and one.report.kept}
    last_seen = _newest(seen.values())
    answers = {address: one.etcd for address, one in seen.items() if one.etcd is not None}
    membership, leader = compose(
        answers.values(),
        remembered=any(one.record.value is not None or one.record.is_unknown for one in seen.values()),
    )
    serving = timeout >= PATIENCE and any(answer.serves for answer in answers.values())
    built = {
        address: _host(one, target, credentials, now=now, serving=serving) for address, one in seen.items()
    }
    corruption = _corruption(hosts, seen.values(), membership.value)
    return State(
        hosts=built,
        membership=membership,
        last_seen=last_seen,
        clusters=tuple(sorted({answer.cluster_id for answer in answers.values()})),
        leader=leader,
        now=now,
        corruption=corruption,
    )


def corrupt_alarms(errors: Iterable[str]) -> set[int]:
    """Return the IDs of the members that CORRUPT alarms were raised for, 0 for nobody in particular."""
    return {int(number or 0) for said in errors for number in _CORRUPT.findall(said)}


def _corruption(hosts: Hosts, seen: Iterable[_Seen], membership: Membership | None) -> Corruption | None:
    """Say what is known when a CORRUPT alarm stands: the members are asked, one after the other, what they hold."""
    looked = [one for one in seen if one.etcd is not None]
    numbers = corrupt_alarms(said for one in looked if one.etcd for said in one.etcd.errors)
    if not numbers or membership is None:
        return None
    contents = {}
    for one in looked:
        member = membership.by_id(one.etcd.member_id) if one.etcd else None
        if member is not None and member.serving and not member.learner and member.client_urls:
            held = hosts.host(one.address).held_by_etcd(member.client_urls[0], timeout=HASHING)
            if held is not None:
                contents[member.peer_url] = held
    return Corruption(tuple(sorted(numbers)), dict(sorted(contents.items())))


def _look(target: Target, hosts: Hosts, address: str, timeout: float, *, measure: bool, kept: bool) -> _Seen:
    host = hosts.host(address)
    try:
        report = host.inspect(timeout=timeout, kept=kept)
    except HostUnreachable as error:
        return _Seen(address, None, error.message, None, unknown(f"host/{address}/record", error.message))
    process = report.etcd.process
    answer, figures = None, ABSENT
    if process.value is not None or process.is_unknown:
        wanted = target.member_hosts.get(address)
        running = process.value.settings if process.value else {}
        url = running.get("advertise-client-urls", wanted.client_url if wanted else "").split(",")[0]
        answer = host.ask_etcd(url, timeout=timeout) if url else None
        if measure:
            silent = unknown(f"host/{address}/metrics", "its etcd does not answer")
            figures = host.measure_etcd(url, timeout=min(timeout, MEASURING)) if answer else silent
    record, written = _record(address, report.record)
    return _Seen(address, report, "", answer, record, written, figures)


def _remembers(one: _Seen, target: Target) -> bool:
    return one.record.value is not None and one.record.value.cluster == target.cluster


def _named(seen: Iterable[_Seen]) -> Iterable[str]:
    """Yield the hosts that member lists and records name."""
    for one in seen:
        for member in one.etcd.members if one.etcd else ():
            yield from (host_of(url) for url in member.peer_urls[:1])
        record = one.record.value
        if record is not None:
            yield from record.hosts
            yield from record.gone
            yield from record.servers
            yield from (host_of(url) for url in record.members)


def _started_without_data(seen: Collection[_Seen]) -> Iterable[str]:
    """Yield the hosts without data whose members are listed as started."""
    listed = [member for one in seen if one.etcd for member in one.etcd.members]
    started = {host_of(url) for member in listed if member.name for url in member.peer_urls}
    for one in seen:
        if (
            one.address in started
            and one.report
            and not one.report.data.is_unknown
            and not one.report.data.value
        ):
            yield one.address


def _record(address: str, raw: Fact[bytes]) -> tuple[Fact[Record], str]:
    name = f"host/{address}/record"
    if raw.is_unknown or raw.value is None:
        return Fact(None, why=raw.why, name=raw.name or name), ""
    try:
        record, written = decode_record(raw.value)
    except ValueError as error:
        return unknown(name, str(error)), ""
    return known(record), written


def _newest(seen: Iterable[_Seen]) -> Membership | None:
    records = ((one.written, one.record.value) for one in seen)
    dated = [(written, record) for written, record in records if record is not None and record.members]
    if not dated:
        return None
    _, record = max(dated, key=lambda pair: pair[0])
    return Membership(record.cluster_id, record.members)


def _host(one: _Seen, target: Target, credentials: Credentials, *, now: int, serving: bool) -> Host:
    report = one.report
    if report is None:
        gone = unknown(f"host/{one.address}", one.why)
        return Host(
            one.address, Unit(gone, gone), gone, {}, gone, gone, {}, gone, job=gone, unreachable=one.why
        )
    etcd = _answering(report.etcd, now=now, answers=one.etcd is not None, expected=serving)
    servers = {
        name: _answering(unit, now=now, answers=None, expected=serving)
        for name, unit in report.api_servers.items()
    }
    for server in target.api_servers.values():
        name = server.unit.removeprefix(api_server_unit(""))
        if server.host == one.address and report.installed is not None and name not in report.installed:
            servers[name] = replace(servers.get(name, Unit()), missing=True)
    leafs = {
        leaf: _read(fact, f"host/{one.address}/certificate/{leaf}", credentials.leaf)
        for leaf, fact in report.leafs.items()
    }
    trust = _read(report.trust, f"host/{one.address}/trust", credentials.authorities)
    full = report.free_bytes is not None and report.free_bytes < LOG_SEGMENT
    machine = replace(report.machine, figures=one.figures)
    return Host(
        one.address,
        etcd,
        report.data,
        leafs,
        trust,
        one.record,
        servers,
        report.program,
        full,
        report.staged,
        report.strays,
        job=report.job,
        machine=machine,
    )


def _answering(unit: Unit, *, now: int, answers: bool | None, expected: bool) -> Unit:
    """Say of a process whether it answers, and whether it should by now; `answers` None keeps what the host said."""
    process: Process | None = unit.process.value
    if process is None:
        return unit
    answering = process.answering if answers is None else answers
    hung = process.hung or (expected and not answering and now - process.started > HUNG_AFTER)
    return replace(
        unit, process=replace(unit.process, value=replace(process, answering=answering, hung=hung))
    )


def _read(fact: Fact[T], name: str, read: Callable[[T], R]) -> Fact[R]:
    """Translate what was read on a host; what cannot be translated is unknown."""
    if fact.is_unknown or fact.value is None:
        return Fact(None, why=fact.why, name=fact.name or name)
    try:
        return known(read(fact.value), seen=fact.seen)
    except Exception as error:  # noqa: BLE001 - any damaged certificate is an unknown fact, not a crash
        return unknown(name, f"{error}")
