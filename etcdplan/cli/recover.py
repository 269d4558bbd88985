"""etcdplan recover SPEC"""

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from etcdplan.cli.approval import ask_to_restore, shown
from etcdplan.cli.options import AgeIdentity, EtcdDir, NoColor, Scratch, SpecPath
from etcdplan.cli.output import colored, progress
from etcdplan.cli.restore import HostGone, gone_hosts, request
from etcdplan.errors import RefusedError, SpecError, UsageError

if TYPE_CHECKING:
    from etcdplan.backup.manifest import Manifest
    from etcdplan.cli.cluster import LiveCluster
    from etcdplan.diff.target import Target
    from etcdplan.model.restore import Restore
    from etcdplan.model.state import State


def recover(
    spec: SpecPath,
    member: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="MEMBER", help="The survivor; by default the one that knows of the most."
        ),
    ] = None,
    show: Annotated[bool, typer.Option("--plan", help="Show the plan and change nothing.")] = False,
    auto_approve: Annotated[bool, typer.Option("--auto-approve", help="Do not ask.")] = False,
    host_gone: HostGone = None,
    etcd_dir: EtcdDir = None,
    scratch: Scratch = None,
    age_identity: AgeIdentity = None,
    no_color: NoColor = False,
) -> int:
    """Bring a cluster back that lost its majority: a backup of what a survivor has, then a restore of it.

    The backup is published first, and nothing else is changed before; then the plan is shown. A run that died after
    that is finished by 'etcdplan apply --resume SPEC', or by restoring that backup.
    """
    from etcdplan.cli.backup import needed
    from etcdplan.cli.cluster import connect, load
    from etcdplan.cli.session import session_of, with_failpoints
    from etcdplan.cli.taking import Taking, survivors_of
    from etcdplan.render.backup import origin_lines

    cluster = load(spec)
    if cluster.loaded.spec.spec.backup is None:
        raise SpecError(
            "What a survivor has is first kept as a backup, and the spec says nothing of backups.",
            hint="Set spec.backup; a directory of this machine will do as its destination (docs/backups.md).",
        )
    identities = needed(age_identity)
    if not (show or auto_approve or sys.stdin.isatty()):
        raise UsageError("There is no terminal to ask for approval.", hint="Use --auto-approve, or --plan.")
    taking = Taking.of(cluster, identities, etcd_dir, scratch)
    with connect(cluster, identities, wrap=with_failpoints) as reached:
        state = reached.observe(measure=True)
        _check(reached.target, state)
        survivors = survivors_of(reached, state)
        best = survivors.best(member)
        gone = gone_hosts(reached.target, state, host_gone or [])
        if show:
            progress(f"Note: the data of {best.name} would be kept as a backup first, and that restored.")
            asked = request(reached.target, state, _expected(reached.target, state), gone)
            shown(_asking(reached, asked), state, spec, no_color=no_color)
            return 0
        taken = taking.from_survivor(reached, state, survivors, best.name)
        manifest = taken.manifest
        progress(f"{manifest.name} is in {', '.join(taken.destinations)}. Nothing else was changed yet.")
        for line in origin_lines(manifest):
            progress(f"Note: it holds {line}.")
        state = reached.observe(measure=True)
        reached = _asking(reached, request(reached.target, state, manifest, gone))
        document = shown(reached, state, spec, no_color=no_color)
        if not document.steps:
            return 0
        if not auto_approve:
            ask_to_restore(reached.target.cluster, manifest.name)
        color = colored(sys.stderr, no_color=no_color)
        with session_of(reached, identities, color=color, etcd_dir=etcd_dir, scratch=scratch) as session:
            session.apply(document)
    return 0


def _check(target: "Target", state: "State") -> None:
    """Raise `RefusedError` when there is a better way than to go on with what one survivor has."""
    from etcdplan.cli.taking import check_quorum_is_lost
    from etcdplan.diff.view import View
    from etcdplan.model.state import host_of
    from etcdplan.planner.unroll import unroll

    view = View(target, state)
    if view.restore is not None:
        raise RefusedError(
            f"A restore of {view.restore.snapshot} is under way.",
            hint="Finish it: etcdplan apply --resume SPEC.",
        )
    check_quorum_is_lost(view)
    plan = unroll(target, state)
    if plan.steps and not plan.refusals:
        raise RefusedError(
            "The cluster can be brought up with all its data.", hint="etcdplan plan SPEC says how."
        )
    voters = list(view.listed.voters()) if view.listed else []
    hosts = [state.hosts.get(host_of(voter.peer_url)) for voter in voters]
    running = [host for host in hosts if host and host.etcd.process.value is not None]
    if len(running) > len(voters) // 2:
        raise RefusedError(
            f"The etcds of {len(running)} of {len(voters)} members run, which is a majority, and they do not serve.",
            hint="Find out why: their logs, the network between them, the operator's certificate. "
            "If they cannot be mended, stop those whose data are worse.",
        )


def _asking(reached: "LiveCluster", restore: "Restore") -> "LiveCluster":
    return replace(reached, target=replace(reached.target, restore=restore))


def _expected(target: "Target", state: "State") -> "Manifest":
    """Return what stands for the manifest of the backup that is not taken yet."""
    from etcdplan.backup.manifest import Manifest, written
    from etcdplan.diff.view import View

    return Manifest(
        name="a backup of that",
        cluster=target.cluster,
        cluster_id=f"{View(target, state).cluster_id:x}",
        member="",
        etcd_version=target.version,
        revision=0,
        taken_at=written(state.now),
        size=0,
        sha256="0" * 64,
        encrypted_size=0,
        encrypted_sha256="0" * 64,
        recipients=(),
        verified="restore",
        made_by="",
    )
