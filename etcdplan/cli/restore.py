"""etcdplan restore SPEC [NAME]"""

import json
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from etcdplan.cli.approval import ask_to_restore, shown
from etcdplan.cli.options import AgeIdentity, EtcdDir, NoColor, Scratch, SpecPath
from etcdplan.cli.output import colored, progress
from etcdplan.errors import RefusedError, UsageError

if TYPE_CHECKING:
    from etcdplan.backup.manifest import Manifest
    from etcdplan.backup.restoring import SnapshotSource
    from etcdplan.cli.cluster import LiveCluster
    from etcdplan.diff.target import Target
    from etcdplan.model.restore import Restore
    from etcdplan.model.state import Member, State

HostGone = Annotated[
    list[str] | None,
    typer.Option(
        "--host-gone",
        metavar="ADDRESS",
        help="This host does not answer and never comes back by itself. May be repeated.",
    ),
]


def restore(
    spec: SpecPath,
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="The backup; by default the newest verified as the spec asks."),
    ] = None,
    show: Annotated[bool, typer.Option("--plan", help="Show the plan and change nothing.")] = False,
    auto_approve: Annotated[bool, typer.Option("--auto-approve", help="Do not ask.")] = False,
    host_gone: HostGone = None,
    abandon: Annotated[
        bool, typer.Option("--abandon", help="Take back a restore that has stopped no etcd yet.")
    ] = False,
    differences: Annotated[
        Path | None,
        typer.Option(
            "--differences",
            metavar="FILE",
            help="Write every object that would vanish, come back or change to this file, as JSON.",
        ),
    ] = None,
    etcd_dir: EtcdDir = None,
    scratch: Scratch = None,
    age_identity: AgeIdentity = None,
    no_color: NoColor = False,
) -> int:
    """Bring a cluster back from a backup, in the place of whatever its hosts hold now, after showing the plan.

    All API servers and members are stopped. The old data stay on their hosts, renamed. A run that died is finished by
    'etcdplan apply --resume SPEC'.
    """
    from etcdplan.cli.backup import copies_of, needed, restore_source
    from etcdplan.cli.cluster import connect, load
    from etcdplan.cli.resting import BackupTaker, prepare
    from etcdplan.cli.session import session_of, with_failpoints
    from etcdplan.render.backup import origin_lines
    from etcdplan.render.printable import printable

    cluster = load(spec)
    if abandon and (name or host_gone):
        raise UsageError("--abandon takes back what is under way, and needs nothing else.")
    manifest = None if abandon else copies_of(cluster.loaded, name)[0][1]
    identities = (age_identity or []) if abandon else needed(age_identity)
    with ExitStack() as stack:
        reached = stack.enter_context(connect(cluster, identities, wrap=with_failpoints))
        state = reached.observe(measure=True)
        source = None
        if manifest is None:
            target = replace(reached.target, abandon=True)
        else:
            gone = gone_hosts(reached.target, state, host_gone or [])
            asked = request(reached.target, state, manifest, gone, _revision(reached, state))
            target = replace(reached.target, restore=asked)
            source = restore_source(reached, identities, etcd_dir, scratch)
            stack.callback(source.close)
            lines = [
                *_loss(asked, manifest, state, restarts=bool(target.restart)),
                *_lost_objects(reached, source, asked, state, differences),
            ]
            for line in lines:
                progress(f"Note: {printable(line)}")
            for line in origin_lines(manifest):
                progress(f"Note: It holds {line}.")
        reached = replace(reached, target=target)
        document = shown(reached, state, spec, no_color=no_color)
        if show or not document.steps:
            return 0
        if not auto_approve:
            ask_to_restore(target.cluster, manifest.name if manifest else None)
        prepare(BackupTaker(reached, identities, etcd_dir, scratch), document)
        color = colored(sys.stderr, no_color=no_color)
        session = stack.enter_context(
            session_of(reached, identities, color=color, etcd_dir=etcd_dir, scratch=scratch, backups=source)
        )
        session.apply(document)
    return 0


def _serving(state: "State") -> "Member | None":
    """Return a member that can be asked."""
    membership = state.membership.value
    return next((one for one in membership.members.values() if one.serving), None) if membership else None


def _revision(reached: "LiveCluster", state: "State") -> int:
    """Return the revision that the cluster has now, 0 when it cannot be asked."""
    from etcdplan.model.state import host_of
    from etcdplan.transport.errors import EtcdRejected, EtcdUnreachable

    member = _serving(state)
    try:
        return (
            reached.etcd(host_of(member.peer_url), member.client_urls[0]).own_revision(timeout=10)
            if member
            else 0
        )
    except (EtcdRejected, EtcdUnreachable):
        return 0


def _lost_objects(
    reached: "LiveCluster", source: "SnapshotSource", asked: "Restore", state: "State", file: Path | None
) -> list[str]:
    """Say what would vanish, come back and change, while the cluster can be asked; all of it goes to `file`."""
    from etcdplan.cli.files import write_file
    from etcdplan.model.state import host_of
    from etcdplan.transport.errors import EtcdRejected, EtcdUnreachable

    member = _serving(state)
    if member is None or asked.ids[0] in state.clusters:
        why = "nobody serves that could be asked"
    else:
        flags = (server.settings for server in reached.target.api_servers.values())
        prefix = next((one["etcd-prefix"] for one in flags if "etcd-prefix" in one), "/registry").rstrip("/")
        progress(f"Comparing what {member.name} has with {asked.snapshot}.")
        live = reached.etcd(host_of(member.peer_url), member.client_urls[0])
        try:
            since = max(live.own_revision(timeout=10) - asked.revision, 0)
            found = source.differences(asked, live, f"{prefix}/".encode())
        except (EtcdRejected, EtcdUnreachable) as error:
            why = error.message.rstrip(".")
        else:
            if file is not None:
                body = {"formatVersion": 1, **found.as_json()}
                write_file(file, (json.dumps(body, indent=1) + "\n").encode())
            return [f"{since} revisions were written since then.", *found.lines()]
    if file is not None:
        raise RefusedError(
            f"What would vanish or come back cannot be told: {why}.", hint="Leave --differences out."
        )
    return [f"Which objects would vanish or come back cannot be told: {why}."]


def gone_hosts(target: "Target", state: "State", declared: list[str]) -> tuple[str, ...]:
    """Return the hosts that are said to be gone, when they are known and silent."""
    from etcdplan.diff.view import View

    view = View(target, state)
    known = {*target.hosts(), *view.former_hosts, *view.former_server_hosts}
    for address in declared:
        if address not in known:
            raise UsageError(
                f"No host {address} belongs to cluster {target.cluster}, or did: {', '.join(sorted(known))} do."
            )
        if address in target.member_hosts:
            raise RefusedError(
                f"The spec has a member on {address}, which is said to be gone.",
                hint="Put another host in its place in the spec.",
            )
        if not state.host(address).unreachable:
            raise RefusedError(
                f"Host {address} is said to be gone, and answers.", hint="Leave --host-gone out for it."
            )
    return tuple(sorted(set(declared)))


def request(
    target: "Target", state: "State", manifest: "Manifest", gone: tuple[str, ...], reached: int = 0
) -> "Restore":
    """Return the restore that is asked for; the one that is under way when it is of the same backup.

    `reached` is the revision that the cluster has now, 0 when it cannot be asked.
    """
    from etcdplan.diff.view import View
    from etcdplan.model.restore import Restore, bump_for, new_token

    wanted, taken = (version.rpartition(".")[0] for version in (target.version, manifest.etcd_version))
    if wanted != taken:
        raise RefusedError(
            f"{manifest.name} is of etcd {manifest.etcd_version}, and the spec has {target.version}.",
            hint=f"A snapshot is restored by its own minor version: set etcd.version to a {taken} one, upgrade later.",
        )
    view = View(target, state)
    records = (host.record.value for host in state.hosts.values())
    began = max((record.began for record in records if record), default=0)
    if view.restore is not None and view.restore.sha256 == manifest.sha256:
        return replace(view.restore, verified=False, gone=gone, abandoned=False)
    return Restore(
        snapshot=manifest.name,
        sha256=manifest.sha256,
        revision=manifest.revision,
        members=tuple((url, member.name) for url, member in sorted(target.members.items())),
        token=new_token(target.cluster, manifest.sha256, view.cluster_id),
        bump=bump_for(target.version, manifest.revision, reached=reached, began=began),
        replaces=view.cluster_id,
        gone=gone,
    )


def _loss(asked: "Restore", manifest: "Manifest", state: "State", *, restarts: bool) -> list[str]:
    """Say what a restore gives up."""
    age = max(state.now - manifest.time, 0)
    ago = f"{age // 3600} h {age % 3600 // 60} min ago"
    lines = [
        f"All that was written since {manifest.taken_at} ({ago}, revision {manifest.revision}) is lost."
        if manifest.origin is None or manifest.origin.kind == "survivor"
        else f"All that was written after revision {manifest.revision} is lost. The backup was made {ago}, of a copy "
        "of a stopped etcd's data or of a volume: they are as old as that etcd's end, or the volume's snapshot."
    ]
    if not asked.bump:
        lines.append(
            f"etcd {manifest.etcd_version} cannot raise revisions: clients that run on see them go back, and may miss "
            "changes until they are restarted."
        )
    if f"{asked.replaces:x}" != manifest.cluster_id:
        lines.append(
            f"The backup is of cluster ID {manifest.cluster_id}; here is, or was, {asked.replaces:x}."
        )
    lines.append(
        "Restart the kubelets on hosts that the spec does not name afterwards: they remember what was."
        if restarts
        else "Restart kube-controller-manager, kube-scheduler and the kubelets afterwards: they remember what was."
    )
    return lines
