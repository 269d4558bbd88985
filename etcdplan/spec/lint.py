"""What is valid in a spec and yet unwise, with a stable code for each."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from etcdplan.spec.load import LoadedSpec
from etcdplan.spec.models import ClusterSpec
from etcdplan.spec.problems import Address, Position, render_address
from etcdplan.spec.schedule import parse
from etcdplan.spec.units import format_duration, format_size
from etcdplan.spec.versions import Severity, defects

LINT_CODES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "EP101": "even number of members",
        "EP102": "fewer than three members",
        "EP103": "more than seven members",
        "EP104": "the loss of one failure domain takes the quorum",
        "EP105": "failure domain of some members unknown",
        "EP106": "etcd version that can corrupt data",
        "EP107": "etcd version below the recommended minimum",
        "EP108": "etcd 3.4 gets no more fixes",
        "EP109": "etcd version that TLS handshakes can exhaust",
        "EP110": "flag that this etcd version does not know",
        "EP111": "no TLS",
        "EP112": "quota above what etcd recommends",
        "EP113": "API servers depend on one member",
        "EP114": "an API server stops with its member",
        "EP115": "unusual heartbeat interval",
        "EP116": "election timeout close to the heartbeat",
        "EP117": "long election timeout",
        "EP118": "private key open to other users",
        "EP119": "key of another certificate",
        "EP120": "quota that is soon used up",
        "EP121": "data among the files of the system",
        "EP122": "fewer than five members",
        "EP123": "etcd version with a known security hole",
        "EP124": "no policy for backups",
        "EP125": "backups that one identity alone opens",
        "EP126": "backups without Kubernetes' own keys",
        "EP127": "backups that are too old before the next is due",
        "EP131": "archive of etcd missing",
        "EP132": "archive of etcd that cannot be used",
    }
)
"""Code -> title. Codes keep their meaning; a retired one is not used again. EP118 and EP119 are of `pairs`,
EP131 and EP132 of `hosts.etcd_archive`."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One unwise choice. `error` means that it will not work or loses data, `note` that it is a trade-off."""

    code: str
    severity: Severity
    address: str
    position: Position
    what: str
    remedy: str


_Advice = tuple[str, Severity, Address, str, str]


def lint(loaded: LoadedSpec) -> tuple[Finding, ...]:
    """All findings, in the order of the codes. Pure."""
    spec = loaded.spec.spec
    advice = [*_members(spec), *_version(spec), *_flags(spec), *_settings(spec), *_api_servers(spec)]
    advice += _backup(spec)
    findings = [
        Finding(code, severity, render_address(("spec", *place)), loaded.position(("spec", *place)), *words)
        for code, severity, place, *words in advice
    ]
    return tuple(sorted(findings, key=lambda f: (f.code, f.position)))


def _members(spec: ClusterSpec) -> Iterator[_Advice]:
    count, place = len(spec.members), ("members",)
    tolerated = (count - 1) // 2
    if count % 2 == 0:
        what = (
            f"{count} members tolerate {tolerated or 'no'} failure{'s' * (tolerated != 1)}, "
            f"no more than {count - 1} {'do' if count > 2 else 'does'}"
        )
        yield "EP101", "warning", place, what, "use an odd number"
    if count < 3:
        yield "EP102", "warning", place, f"with {count} no failure is tolerated", "use three or five members"
    if count == 3 and spec.etcd.runtime != "process":
        what = "while one of three is replaced or restarted no other may fail"
        yield "EP122", "note", place, what, "Kubernetes recommends five in production"
    if count > 7:
        what = f"each write waits for {count // 2 + 1} of {count} members"
        yield "EP103", "warning", place, what, "use five or seven members"
    domains = Counter(member.failure_domain for member in spec.members if member.failure_domain is not None)
    if domains and domains.total() < count:
        for i, member in enumerate(spec.members):
            if member.failure_domain is None:
                what = f"it is not known what {member.name} fails together with"
                yield "EP105", "note", ("members", i), what, "give it a 'failureDomain' like the others"
    if count >= 3:
        for domain, inside in domains.items():
            if inside > tolerated:
                what = f"{inside} of {count} members are in {domain}, and {tolerated} may fail"
                place_of = next(i for i, m in enumerate(spec.members) if m.failure_domain == domain)
                remedy = "spread the members over at least three failure domains"
                yield "EP104", "warning", ("members", place_of, "failureDomain"), what, remedy


def _version(spec: ClusterSpec) -> Iterator[_Advice]:
    version = spec.etcd.version
    for defect in defects(version, circumstances(spec)):
        yield (
            defect.code,
            defect.severity,
            ("etcd", "version"),
            f"etcd {version}: {defect.what}",
            defect.remedy,
        )


def circumstances(spec: ClusterSpec) -> frozenset[str]:
    """Return what decides whether a defect of a version matters to this cluster (`versions.entries`)."""
    given = {"tls": spec.tls.mode == "managed", "single": len(spec.members) == 1}
    return frozenset(name for name, is_so in given.items() if is_so)


def _flags(spec: ClusterSpec) -> Iterator[_Advice]:
    minor = int(spec.etcd.version.split(".")[1])
    for name in spec.etcd.extra_args:
        # Removed in 3.6: v2; in 3.7: all experimental flags (upgrade guides 3.6 and 3.7). etcd exits on them.
        v2 = minor >= 6 and name in ("enable-v2", "experimental-enable-v2v3")
        if v2 or (minor >= 7 and name.startswith("experimental-")):
            what = f"etcd {spec.etcd.version} does not start with it"
            remedy = "remove it" if v2 else "use the flag without 'experimental-', or 'feature-gates'"
            yield "EP110", "error", ("etcd", "extraArgs", name), what, remedy


_LEAST_QUOTA: Final = 64 * 1024**2
_NOT_FOR_DATA: Final = {
    **dict.fromkeys(
        ("etc", "usr", "bin", "sbin", "lib", "lib64", "boot"), "which is for the system's own files"
    ),
    **dict.fromkeys(("run", "dev", "proc", "sys"), "which is no disk"),
    "tmp": "which is emptied without warning",
}
"""By top directory, why data is badly kept there (Filesystem Hierarchy Standard)."""


def _settings(spec: ClusterSpec) -> Iterator[_Advice]:
    if spec.tls.mode == "none":
        what = "whoever reaches the network reads and changes all of Kubernetes' data, secrets included"
        yield "EP111", "warning", ("tls", "mode"), what, "use 'mode: managed'"
    if spec.etcd.quota_backend > 8 * 1024**3:
        what = f"{format_size(spec.etcd.quota_backend)} makes starts, restores and defragmentation slow"
        yield "EP112", "warning", ("etcd", "quotaBackend"), what, "etcd recommends at most 8GiB"
    if spec.etcd.quota_backend < _LEAST_QUOTA:
        what = f"{format_size(spec.etcd.quota_backend)} is soon full, and then etcd refuses writes"
        yield "EP120", "warning", ("etcd", "quotaBackend"), what, "2GiB suits small clusters, 8GiB most"
    for key, directory in (("dataDir", spec.etcd.data_dir), ("walDir", spec.etcd.wal_dir)):
        top = (directory or "").split("/")[1:2]
        if top and top[0] in _NOT_FOR_DATA:
            what = f"{directory} is in /{top[0]}, {_NOT_FOR_DATA[top[0]]}"
            yield "EP121", "warning", ("etcd", key), what, "use a directory below /var/lib"
    heartbeat, election = spec.etcd.heartbeat_interval, spec.etcd.election_timeout
    if not 10 <= heartbeat <= 500:
        what = f"{format_duration(heartbeat)} suits few networks"
        remedy = "use 0.5 to 1.5 times the longest round trip between members; 100ms is the default"
        yield "EP115", "warning", ("etcd", "heartbeatInterval"), what, remedy
    if election < 10 * heartbeat:
        what = f"a pause of {format_duration(election)} starts an election"
        remedy = f"use {format_duration(10 * heartbeat)} or more, ten times 'heartbeatInterval'"
        yield "EP116", "warning", ("etcd", "electionTimeout"), what, remedy
    if election > 10_000:
        what = f"a failed leader stops all writes for {format_duration(election)} or more"
        yield "EP117", "warning", ("etcd", "electionTimeout"), what, "use 1s, or up to 5s between continents"


def _api_servers(spec: ClusterSpec) -> Iterator[_Advice]:
    instances = spec.api_servers.instances
    if spec.api_servers.connect == "own":
        if instances:
            remedy = "use 'connect: all' where the network allows it"
            what = "with 'connect: own' the failure of a member takes its API server with it"
            yield "EP114", "note", ("apiServers", "connect"), what, remedy
        users = Counter(instance.member for instance in instances)
    else:
        users = Counter(spec.members[0].name for _ in instances if len(spec.members) == 1)
    for member, count in users.items():
        if count > 1:
            what = f"{count} API servers stop when {member} does"
            yield (
                "EP113",
                "warning",
                ("apiServers", "instances"),
                what,
                "give each a member of its own, or more members",
            )


def _backup(spec: ClusterSpec) -> Iterator[_Advice]:
    if spec.backup is None:
        if spec.etcd.runtime != "process":
            what = "what is lost with a majority of the members is lost for good"
            yield "EP124", "warning", (), what, "set 'backup'; docs/backups.md shows how"
        return
    if len(set(spec.backup.encryption.recipients)) == 1:
        what = "with the identity of the one recipient all backups are lost"
        remedy = "add a second recipient, whose identity is kept elsewhere"
        yield "EP125", "warning", ("backup", "encryption", "recipients"), what, remedy
    if not spec.backup.include:
        what = "a snapshot alone brings neither tokens nor kubelets nor encrypted Secrets back"
        remedy = "leave it out, or back up Kubernetes' CA, sa.key and encryption configuration otherwise"
        yield "EP126", "note", ("backup", "include"), what, remedy
    if spec.backup.schedule is not None and spec.backup.max_age is not None:
        pause = parse(spec.backup.schedule).longest_pause
        if spec.backup.max_age < 1000 * pause:
            what = f"'schedule' pauses for up to {format_duration(1000 * pause)}"
            yield "EP127", "warning", ("backup", "maxAge"), what, "use more than that, or a closer schedule"
