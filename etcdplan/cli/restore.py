"""etcdplan restore SPEC [NAME]"""

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from etcdplan.cli.approval import ask, shown
from etcdplan.cli.backup import EtcdDir, Scratch
from etcdplan.cli.options import AgeIdentity, NoColor, SpecPath
from etcdplan.cli.output import colored, progress
from etcdplan.errors import RefusedError, UsageError

if TYPE_CHECKING:
    from etcdplan.backup.manifest import Manifest
    from etcdplan.diff.target import Target
    from etcdplan.model.restore import Restore
    from etcdplan.model.state import State

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
        str | None, typer.Argument(metavar="[NAME]", help="The backup; the newest by default.")
    ] = None,
    show: Annotated[bool, typer.Option("--plan", help="Show the plan and change nothing.")] = False,
    auto_approve: Annotated[bool, typer.Option("--auto-approve", help="Do not ask.")] = False,
    host_gone: HostGone = None,
    abandon: Annotated[
        bool, typer.Option("--abandon", help="Take back a restore that has stopped no etcd yet.")
    ] = False,
    etcd_dir: EtcdDir = None,
    scratch: Scratch = None,
    age_identity: AgeIdentity = None,
    no_color: NoColor = False,
) -> int:
    """Bring a cluster back from a backup, in the place of whatever its hosts hold now, after showing the plan.

    All API servers and members are stopped. The old data stay on their hosts, renamed. A run that died is finished by
    'etcdplan apply --resume SPEC'.
    """
    from etcdplan.cli.backup import copies_of, needed
    from etcdplan.cli.cluster import connect, load
    from etcdplan.cli.session import session_of, with_failpoints
    from etcdplan.render.backup import origin_lines
    from etcdplan.render.printable import printable

    cluster = load(spec)
    if abandon and (name or host_gone):
        raise UsageError("--abandon takes back what is under way, and needs nothing else.")
    manifest = None if abandon else copies_of(cluster.loaded, name)[0][1]
    identities = (age_identity or []) if abandon else needed(age_identity)
    with connect(cluster, identities, wrap=with_failpoints) as reached:
        state = reached.observe(measure=True)
        if manifest is None:
            target = replace(reached.target, abandon=True)
        else:
            asked = request(
                reached.target, state, manifest, gone_hosts(reached.target, state, host_gone or [])
            )
            target = replace(reached.target, restore=asked)
            for line in _loss(asked, manifest, state):
                progress(f"Note: {printable(line)}")
            for line in origin_lines(manifest):
                progress(f"Note: It holds {line}.")
        reached = replace(reached, target=target)
        document = shown(reached, state, spec, no_color=no_color)
        if show or not document.steps:
            return 0
        if not auto_approve:
            what = (
                f"This puts {manifest.name} in the place of what cluster {target.cluster} holds. "
                if manifest
                else f"This takes the restore of cluster {target.cluster} back. "
            )
            ask(f"{what}Its name, to approve?", instead="Use --auto-approve.", answer=target.cluster)
        color = colored(sys.stderr, no_color=no_color)
        with session_of(reached, identities, color=color, etcd_dir=etcd_dir, scratch=scratch) as session:
            session.apply(document)
    return 0


def gone_hosts(target: "Target", state: "State", declared: list[str]) -> tuple[str, ...]:
    """Return the hosts that are said to be gone, when they are known and silent."""
    from etcdplan.diff.view import View

    known = {*target.hosts(), *View(target, state).former_hosts}
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


def request(target: "Target", state: "State", manifest: "Manifest", gone: tuple[str, ...]) -> "Restore":
    """Return the restore that is asked for; the one that is under way when it is of the same backup."""
    from etcdplan.diff.view import View
    from etcdplan.model.restore import Restore, bump_for, new_token

    wanted, taken = (version.rpartition(".")[0] for version in (target.version, manifest.etcd_version))
    if wanted != taken:
        raise RefusedError(
            f"{manifest.name} is of etcd {manifest.etcd_version}, and the spec has {target.version}.",
            hint=f"A snapshot is restored by its own minor version: set etcd.version to a {taken} one, upgrade later.",
        )
    view = View(target, state)
    if view.restore is not None and view.restore.sha256 == manifest.sha256:
        return replace(view.restore, verified=False, gone=gone, abandoned=False)
    return Restore(
        snapshot=manifest.name,
        sha256=manifest.sha256,
        revision=manifest.revision,
        members=tuple((url, member.name) for url, member in sorted(target.members.items())),
        token=new_token(target.cluster, manifest.sha256, view.cluster_id),
        bump=bump_for(target.version),
        replaces=view.cluster_id,
        gone=gone,
    )


def _loss(asked: "Restore", manifest: "Manifest", state: "State") -> list[str]:
    """Say what a restore gives up."""
    age = max(state.now - manifest.time, 0)
    lines = [
        f"All that was written since {manifest.taken_at} ({age // 3600} h {age % 3600 // 60} min ago, revision "
        f"{manifest.revision}) is lost."
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
        "Restart kube-controller-manager, kube-scheduler and the kubelets afterwards: they remember what was."
    )
    return lines
