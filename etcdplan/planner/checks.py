"""What hosts and their etcds fall short of, with a stable code for each: said beside the plan, and no part of it.

What could not be seen is said as that. A host that does not answer is told of elsewhere in the plan.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Final

from etcdplan.diff.target import MemberTarget, Target
from etcdplan.model.facts import Fact
from etcdplan.model.machine import ANY_ADDRESS, Machine, Volume
from etcdplan.model.state import Host, Settings, State, host_of
from etcdplan.planner.rules.credentials import BACKDATED
from etcdplan.spec.versions import Severity, defects

CHECK_CODES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "EP201": "a running etcd's version has a known defect",
        "EP202": "little space for data",
        "EP203": "little space for the log",
        "EP204": "clocks differ",
        "EP205": "port taken",
        "EP206": "little memory",
        "EP207": "few processors",
        "EP208": "unsuitable disk",
        "EP209": "heartbeat faster than the network",
        "EP210": "election timeout too short for the network",
        "EP211": "slow writing to the log",
        "EP212": "slow writing to the database",
        "EP213": "not checked",
    }
)
"""Code -> title. Codes keep their meaning; a retired one is not used again. EP1xx are of `spec.lint`."""

SKEW: Final = 1.0
"""Seconds that etcd takes for a high clock drift (`rafthttp/probing_status.go`)."""
LOG: Final = 6 * 64 * 1024**2
"""Bytes that etcd's log takes: five old segments (`--max-wals`) and the one that is written to."""
FSYNC, COMMIT = 0.010, 0.025
"""Seconds, 99th percentiles (etcd's FAQ: "What does the etcd warning ... mean?")."""
SIZES: Final = ((100, 7.5, 2), (500, 15, 4), (1000, 30, 8), (None, 60, 16))
"""MB of data up to which a machine suffices; its memory in GB, its processors (etcd "Hardware recommendations")."""

_IN_MEMORY: Final = ("tmpfs", "ramfs")
_OVER_NETWORK: Final = ("nfs", "smb", "smb2", "cifs", "ceph", "lustre", "afs", "gfs/gfs2", "fuseblk")
"""As `stat -f` of coreutils names them."""
_UNCHECKED: Final = {
    "clock_ahead": "clock",
    "memory": "memory",
    "processors": "processors",
    "data": "data disk",
    "log": "log disk",
    "listening": "ports",
    "figures": "latencies",
}
"""What a fact of `Machine` is called."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One shortcoming. Like `spec.lint.Finding`, of what is instead of what is wanted; `address` may name several."""

    code: str
    severity: Severity
    address: str
    what: str
    remedy: str


_Advice = tuple[str, Severity, str, str, str]


def check(target: Target, state: State) -> tuple[Finding, ...]:
    """All findings about the hosts of a spec and the members, in the order of the codes; pure.

    What is the same on several hosts is said once.
    """
    hosts = [host for name in target.hosts() if (host := state.hosts.get(name)) and not host.unreachable]
    advice = [*_versions(target, state), *_clocks(hosts), *_network(target, hosts)]
    for host in hosts:
        advice += _unseen(host)
        if (member := target.member_hosts.get(host.address)) is not None:
            advice += [*_space(member, host), *_ports(member, host), *_hardware(host), *_latency(host)]
    together: dict[tuple[str, Severity, str, str], list[str]] = {}
    for code, severity, address, what, remedy in advice:
        together.setdefault((code, severity, what, remedy), []).append(address)
    found = [
        Finding(code, severity, ", ".join(addresses), what, remedy)
        for (code, severity, what, remedy), addresses in together.items()
    ]
    return tuple(sorted(found, key=lambda one: one.code))


def _versions(target: Target, state: State) -> Iterator[_Advice]:
    """Yield what the spec's own version does not say already."""
    members = state.membership.value.members.values() if state.membership.value else ()
    given = {"tls": bool(target.ca), "single": len(members) == 1}
    for member in members:
        if member.version and member.version != target.version:
            for defect in defects(member.version, [name for name, is_so in given.items() if is_so]):
                what = f"it runs etcd {member.version}: {defect.what}"
                yield "EP201", defect.severity, f"member/{member.name}", what, defect.remedy


def _clocks(hosts: Iterable[Host]) -> Iterator[_Advice]:
    ahead = {host.address: by for host in hosts if (by := host.machine.clock_ahead.value) is not None}
    off = {address: by for address, by in ahead.items() if abs(by) > SKEW}
    remedy = "have the time kept by NTP, such as by chrony; certificates and leases go by it"
    if len(off) == len(ahead) > 1 and max(off.values()) - min(off.values()) <= SKEW:
        by = min(off.values(), key=abs)
        what = f"the clock of this machine is {_apart(-by)} those of all hosts"
        yield "EP204", _severity(by), "runner", what, remedy
        return
    for address, by in off.items():
        what = f"its clock is {_apart(by)} that of this machine"
        yield "EP204", _severity(by), f"host/{address}", what, remedy


def _severity(ahead: float) -> Severity:
    """A certificate that is made now is not yet valid on a host that is far behind."""
    return "error" if -ahead > BACKDATED else "warning"


def _apart(seconds: float) -> str:
    by, unit = abs(seconds), "s"
    for factor, larger in ((60, "min"), (60, "h"), (24, "d")):
        if by < 2 * factor:
            break
        by, unit = by / factor, larger
    return f"{by:.0f} {unit} {'ahead of' if seconds > 0 else 'behind'}"


def _space(member: MemberTarget, host: Host) -> Iterator[_Advice]:
    data, log, figures = host.machine.data.value, host.machine.log.value, host.machine.figures.value
    if data is not None:
        # What the database has taken is not free any more; where that is not known, nothing is said of the rest.
        database = figures.database if figures else 0 if host.data == Fact(None) else None
        quota = int(member.settings["quota-backend-bytes"])
        growth = 0 if database is None else max(quota - database, 0)
        need = growth + (0 if log else LOG)
        if data.free < need:
            what = (
                f"{_size(data.free)} are free for {data.directory}, and etcd may yet take {_size(need)}: "
                f"its database up to 'quotaBackend'{'' if log else ', and its log'}"
            )
            yield "EP202", "warning", f"host/{host.address}", what, "make room, or lower 'quotaBackend'"
    if log is not None and log.free < LOG:
        what = f"{_size(log.free)} are free for {log.directory}, and etcd's log may take {_size(LOG)}"
        yield "EP203", "warning", f"host/{host.address}", what, "make room"


def _ports(member: MemberTarget, host: Host) -> Iterator[_Advice]:
    """Yield the ports of a member that somebody else has; its own etcd is not somebody else."""
    taken, process = host.machine.listening.value, host.etcd.process
    if taken is None or process.is_unknown:
        return
    own = set(_listens(process.value.settings)) if process.value else set()
    for address, port in sorted(set(_listens(member.settings)) - own):
        # A server on all addresses and one on a single address exclude each other, both ways.
        there = {where for where, theirs in taken if theirs == port}
        if there and (ANY_ADDRESS in (address, *there) or address in there):
            what = f"port {port} is taken, and etcd of {member.name} is to listen there"
            yield (
                "EP205",
                "error",
                f"host/{host.address}",
                what,
                "stop what listens there, or use another port",
            )


def _listens(settings: Settings) -> Iterator[tuple[str, int]]:
    for flag in ("listen-peer-urls", "listen-client-urls"):
        for url in filter(None, settings.get(flag, "").split(",")):
            address, port = host_of(url), url.rpartition(":")[2].rstrip("/")
            if port.isdigit():
                yield ANY_ADDRESS if address in ("0.0.0.0", "::") else address, int(port)  # noqa: S104


def _hardware(host: Host) -> Iterator[_Advice]:
    machine, address = host.machine, f"host/{host.address}"
    figures = machine.figures.value
    database = figures.database if figures else 0
    limit, memory, processors = next(row for row in SIZES if row[0] is None or database <= row[0] * 1e6)
    data = f"up to {limit} MB of data" if limit else "more than 1 GB of data"
    remedy = "see etcd's hardware recommendations"
    if machine.memory.value is not None and machine.memory.value < memory * 1e9:
        what = f"it has {_size(machine.memory.value)} of memory; etcd recommends {memory:g} GB for {data}"
        yield "EP206", "note", address, what, remedy
    if machine.processors.value is not None and machine.processors.value < processors:
        what = f"its processors are {machine.processors.value}; etcd recommends {processors} for {data}"
        yield "EP207", "note", address, what, remedy
    for volume in (machine.data.value, machine.log.value):
        if volume is not None:
            yield from (("EP208", severity, address, what, use) for severity, what, use in _disk(volume))


def _disk(volume: Volume) -> Iterator[tuple[Severity, str, str]]:
    if volume.file_system in _IN_MEMORY:
        what = f"{volume.directory} is in memory ({volume.file_system}): what is there ends with the host's power"
        yield "warning", what, "use a disk"
    elif volume.file_system in _OVER_NETWORK:
        what = (
            f"{volume.directory} is on a file system of {volume.file_system}, and etcd waits for each write"
        )
        yield "warning", what, "use a local disk, best an SSD"
    elif volume.spins:
        yield "note", f"the disk of {volume.directory} says that it spins", "use an SSD"


def _network(target: Target, hosts: Iterable[Host]) -> Iterator[_Advice]:
    figures = (host.machine.figures.value for host in hosts if host.address in target.member_hosts)
    longest = max((one.round_trip for one in figures if one and one.round_trip is not None), default=0.0)
    settings = next(iter(target.members.values())).settings
    heartbeat, election = (int(settings[name]) / 1000 for name in ("heartbeat-interval", "election-timeout"))
    way = f"members are {_ms(longest)} apart, there and back on average"
    if heartbeat < longest:
        what = f"{way}, and the heartbeat comes every {_ms(heartbeat)}"
        yield (
            "EP209",
            "warning",
            "spec.etcd.heartbeatInterval",
            what,
            "use the longest round trip, or a little more",
        )
    if election < 10 * longest:
        what = f"{way}, and an election starts after {_ms(election)}"
        yield (
            "EP210",
            "warning",
            "spec.etcd.electionTimeout",
            what,
            "use ten times the longest round trip, or more",
        )


def _latency(host: Host) -> Iterator[_Advice]:
    figures = host.machine.figures.value
    if figures is None:
        return
    remedy = "use a faster disk, or one that etcd has for itself"
    for code, name, value, limit in (
        ("EP211", "a write to the log (fsync)", figures.fsync, FSYNC),
        ("EP212", "a write to the database (commit)", figures.commit, COMMIT),
    ):
        if value is not None and value >= limit:
            what = f"{name} takes {_ms(value)} (99th percentile since etcd's start); it should be below {_ms(limit)}"
            yield code, "warning", f"host/{host.address}", what, remedy


def _unseen(host: Host) -> Iterator[_Advice]:
    """Yield what is not known of a host, by the reasons."""
    reasons: dict[str, list[str]] = {}
    for field in fields(Machine):
        fact: Fact[object] = getattr(host.machine, field.name)
        if fact.why is not None:
            reasons.setdefault(fact.why, []).append(_UNCHECKED[field.name])
    for why, names in reasons.items():
        what = f"not checked: {', '.join(names)} ({why})"
        yield "EP213", "note", f"host/{host.address}", what, "nothing is known of it, good or bad"


def _size(size: int) -> str:
    """Two digits are enough, and last longer than more."""
    value, unit = size / 1024**2, "MiB"
    if value >= 1024:
        value, unit = value / 1024, "GiB"
    return f"{value:.1f} {unit}" if 0 < value < 10 else f"{value:.0f} {unit}"


def _ms(seconds: float) -> str:
    value = seconds * 1000
    return f"{value:.1f} ms" if value < 10 and value != round(value) else f"{value:.0f} ms"
