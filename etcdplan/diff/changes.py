"""Desired against seen: every difference has an address and a reason.

The diff compares with the final target; it is for people and for the end test. It is empty exactly when no rule of the
policy proposes anything.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from etcdplan.diff.backup_hosts import answering, former
from etcdplan.diff.target import ApiServerTarget, BackupHostTarget, MemberTarget, Owner, Target
from etcdplan.diff.view import View
from etcdplan.model.backup_job import BackupJob, sha256_of
from etcdplan.model.endpoints import SERVERS
from etcdplan.model.facts import UnknownFact
from etcdplan.model.state import Record, Settings, State, host_of, steady

LIST_FLAGS = frozenset({SERVERS})
"""Flags whose value is a list in any order."""


@dataclass(frozen=True, slots=True)
class Change:
    """One difference. `action` is create, update, replace, delete, start, or unknown (it could not be compared)."""

    address: str
    action: str
    before: str | None
    after: str | None
    reason: str


def diff(target: Target, state: State) -> tuple[Change, ...]:
    """Compare a target with a settled state; what cannot be read is a change of action `unknown`."""
    view = View(target, state)
    if (restore := view.restore) is not None and restore.abandoned:
        return (Change("cluster/restore", "delete", restore.snapshot, None, "it is taken back"),)
    if target.abandon:
        return ()
    if restore is not None:
        why = (
            f"{restore.snapshot} is to be restored"
            if restore is target.restore
            else f"{restore.snapshot} is being restored"
        )
        return (Change("cluster", "replace", f"{restore.replaces:x}", f"{restore.ids[0]:x}", why),)
    parts: list[Callable[[], Iterator[Change]]] = [lambda: _cluster(view), lambda: _members(view)]
    parts += [lambda host=host: _host(view, host) for host in target.hosts()]  # type: ignore[misc]
    parts += [lambda wanted=wanted: _member(view, wanted) for wanted in target.members.values()]  # type: ignore[misc]
    parts += [lambda server=server: _api_server(view, server) for server in target.api_servers.values()]  # type: ignore[misc]
    parts.append(lambda: _leftovers(view))
    parts += [lambda wanted=wanted: _backup_host(view, wanted) for wanted in answering(view)]  # type: ignore[misc]
    parts.append(lambda: _former_backup_hosts(view))
    changes: list[Change] = []
    for part in parts:
        try:
            changes.extend(part())
        except UnknownFact as fact:
            changes.append(Change(fact.name, "unknown", None, None, fact.why))
    return tuple(dict.fromkeys(changes))


def _cluster(view: View) -> Iterator[Change]:
    records = (host.record.value for host in view.state.hosts.values())
    seen = {*view.state.clusters, *(record.cluster_id for record in records if record)} - view.former
    if len(seen) > 1:
        ids = ", ".join(f"{number:x}" for number in sorted(seen))
        yield Change("cluster", "update", ids, f"{view.cluster_id:x}", "more than one cluster is seen")
    if view.born and view.state.membership.value is not None and not view.quorum.holds:
        yield Change("cluster", "update", "no quorum", "quorum", "too few voters serve")
    if view.state.corruption is not None and view.state.membership.value is not None:
        yield Change("cluster/alarm", "delete", "CORRUPT", None, "etcd refuses all writes while it stands")


def _members(view: View) -> Iterator[Change]:
    listed = view.membership.members if view.membership else {}
    for member in view.corrupt:
        kept = member.peer_url in view.target.members
        why = "its data differ from the majority's"
        action, after = ("replace", member.peer_url) if kept else ("delete", None)
        yield Change(f"member/{member.name}", action, member.peer_url, after, why)
    for url, reason in view.lost.items():
        kept = url in view.target.members
        name = listed[url].name
        yield Change(f"member/{name}", "replace" if kept else "delete", url, url if kept else None, reason)
    for member in view.leaving:
        yield Change(f"member/{member.name}", "delete", member.peer_url, None, "the spec does not name it")
    for wanted in view.missing:
        yield Change(f"member/{wanted.name}", "create", None, wanted.peer_url, "it is not in the member list")
    for wanted in view.joining:
        yield Change(f"member/{wanted.name}", "update", "joining", "voter", "it does not vote yet")
    for url, member in listed.items():
        if not member.started and url not in view.target.members:
            yield Change(
                f"member/{host_of(url)}",
                "delete",
                url,
                None,
                "it never started and the spec does not name it",
            )


def _host(view: View, address: str) -> Iterator[Change]:
    if view.absent_api_host(address):
        return
    host = view.state.host(address)
    if view.target.ca:
        trust = host.trust.get()
        if trust != (view.target.ca,):
            action, why = (
                ("create", "there is none yet") if trust is None else ("update", "it is another CA's")
            )
            yield Change(f"trust/{address}", action, None, view.target.ca[:16], why)
    record, wanted = host.record.get(), Record(view.target.cluster, view.cluster_id)
    if record is not None and record.restart:
        units = ", ".join(record.restart)
        yield Change(
            f"host/{address}/restart", "update", None, units, "they remember what was before the restore"
        )
        record = replace(record, restart=())
    if record != wanted:
        before = None if record is None else f"{record.cluster} ({record.cluster_id:x})"
        yield Change(
            f"host/{address}/record", "create", before, view.target.cluster, "it is not recorded there"
        )
    settings = host.etcd.settings.get()
    if view.born and settings is not None and settings.get("initial-cluster-state") == "new":
        why = "an empty etcd there would found another cluster"
        yield Change(f"host/{address}/etcd/initial-cluster-state", "update", "new", "existing", why)


def _member(view: View, wanted: MemberTarget) -> Iterator[Change]:
    address = f"member/{wanted.name}"
    yield from _certificates(view, wanted)
    host = view.state.host(wanted.host)
    listed = view.listed.members.get(wanted.peer_url) if view.listed else None
    if listed is not None and listed.version and listed.version != view.target.version:
        yield Change(
            f"{address}/version", "update", listed.version, view.target.version, "another version runs"
        )
    yield from _program(view, wanted.host)
    host.data.get()  # Not compared, but data that cannot be read are not known to be the member's.
    process = host.etcd.process.get()
    if listed is not None and listed.started and (process is None or process.hung):
        before = "down" if process is None else "hung"
        yield Change(f"{address}/process", "start", before, "running", f"its etcd is {before}")
    yield from _flags(address, host.etcd.settings.get(), wanted.settings, "on disk")
    if process is not None:
        yield from _flags(address, process.settings, wanted.settings, "in the running process")


def _program(view: View, host: str) -> Iterator[Change]:
    program = view.state.host(host).program.get() if view.target.program else ""
    if program != view.target.program:
        why = "it is not on the host, or not whole"
        yield Change(f"program/{host}", "create", program, view.target.program, why)


def _certificates(view: View, owner: Owner) -> Iterator[Change]:
    for step in view.certificates(owner):
        wrong = step.wrong(view.state)
        if wrong is not None:
            there = view.state.host(step.host).leaf(step.leaf).get() is not None
            yield Change(step.subject, "update" if there else "create", None, "issued", wrong)


def _flags(address: str, settings: Settings | None, wanted: Settings, where: str) -> Iterator[Change]:
    have = steady(settings) if settings is not None else {}
    for flag in sorted(have.keys() | wanted.keys()):
        before, after = have.get(flag), wanted.get(flag)
        if before is not None and after is not None and flag in LIST_FLAGS:
            before, after = (",".join(sorted(value.split(","))) for value in (before, after))
        if before != after:
            action = "create" if before is None else "delete" if after is None else "update"
            yield Change(f"{address}/flag/{flag}", action, before, after, f"it differs {where}")


def _api_server(view: View, server: ApiServerTarget) -> Iterator[Change]:
    if view.absent_api_host(server.host):
        return
    address = f"apiserver/{server.name}"
    yield from _certificates(view, server)
    unit = view.state.host(server.host).unit(server.unit)
    endpoints = view.final_endpoints(server)
    wanted = {**view.flags(server), SERVERS: ",".join(endpoints)}
    process = unit.process.get()
    yield from _flags(address, unit.settings.get(), wanted, "on disk")
    if process is not None:
        yield from _flags(address, process.settings, wanted, "in the running process")
    if process is None or process.hung:
        before = "down" if process is None else "hung"
        yield Change(f"{address}/process", "start", before, "running", f"it is {before}")
    if view.routed_away(server):
        why = "its clients were routed away while it was stopped"
        yield Change(f"{address}/clients", "update", "routed away", "routed to it", why)


def _leftovers(view: View) -> Iterator[Change]:
    for host in view.leftovers():
        yield Change(
            f"host/{host.address}/etcd", "delete", "present", None, "a removed member left it behind"
        )


def _backup_host(view: View, wanted: BackupHostTarget) -> Iterator[Change]:
    yield from _program(view, wanted.host)
    yield from _certificates(view, wanted)
    address, job = f"backup-host/{wanted.host}", view.state.host(wanted.host).job.get() or BackupJob()
    if job.files:
        yield from _job(address, job, {path: sha256_of(text) for path, text in wanted.job.files.items()})
        if job.program != wanted.job.program:
            there, after = (path.rpartition("/")[2] or None for path in (job.program, wanted.job.program))
            why = "another version is on the host" if there else "it is not on the host"
            yield Change(f"{address}/program", "update" if there else "create", there, after, why)
    else:
        yield Change(address, "create", None, "takes backups", "it does not take backups yet")


def _job(address: str, job: BackupJob, wanted: Mapping[str, str]) -> Iterator[Change]:
    for path in sorted(job.files.keys() | wanted.keys()):
        before, after = (
            digest and f"SHA-256 {digest[:12]}" for digest in (job.files.get(path), wanted.get(path))
        )
        if job.files.get(path) != wanted.get(path):
            action = "create" if before is None else "delete" if after is None else "update"
            yield Change(f"{address}{path}", action, before, after, "it differs on the host")
    if not job.waits:
        yield Change(f"{address}/timer", "start", "stopped", "waiting", "its timer does not wait")


def _former_backup_hosts(view: View) -> Iterator[Change]:
    for host in former(view):
        why = "the spec does not name it as a backup host"
        yield Change(f"backup-host/{host.address}", "delete", "takes backups", None, why)
