"""etcdplan backup volume SPEC"""

from typing import TYPE_CHECKING, Annotated

import typer

from etcdplan.cli.options import AgeIdentity, SpecPath
from etcdplan.cli.output import progress, result

if TYPE_CHECKING:
    from etcdplan.apply.frozen import Volumes


def volume(
    spec: SpecPath,
    hook: Annotated[
        str,
        typer.Option(
            "--hook", metavar="NAME", help="The command of the runner's configuration that takes it."
        ),
    ],
    age_identity: AgeIdentity = None,
) -> int:
    """Take a snapshot of a member's volumes: freeze its file systems, run a hook of this runner, thaw them.

    The hook gets the member's name, the host, and the mount points of etcd's data and log. What it took becomes a
    backup by 'etcdplan backup run SPEC --from-volume DIR'.
    """
    from etcdplan.apply.frozen import snapshot_volumes
    from etcdplan.apply.holder import Holder
    from etcdplan.apply.journal import RunnerFiles
    from etcdplan.apply.session import Session
    from etcdplan.backup.source import choose_member
    from etcdplan.cli.cluster import connect, load
    from etcdplan.cli.hooks import Hooks
    from etcdplan.cli.interrupt import interruptible
    from etcdplan.cli.session import with_failpoints
    from etcdplan.render.progress import event_text

    hooks = Hooks.here()
    timeout = hooks.require(hook, "The command names").timeout

    def take(volumes: "Volumes") -> None:
        progress(f"{volumes.member} on {volumes.host} is frozen: {', '.join(volumes.mounts)}.")
        hint = "Mend it, and take the snapshot again."
        hooks.run(hook, volumes.member, volumes.host, *volumes.mounts, hint=hint)

    with connect(load(spec), age_identity or [], wrap=with_failpoints) as cluster:
        session = Session(
            target=cluster.target,
            spec_digest=cluster.digest,
            hosts=cluster.hosts,
            observe=cluster.observe,
            signer=None,
            runner=RunnerFiles.home(),
            holder=Holder.here("backup volume"),
            clock=cluster.clock,
            tell=lambda event: progress(event_text(event, color=False)),
            each=cluster.each,
        )
        # What is frozen is thawed before anybody's signal is heard.
        with interruptible(lambda _: progress("It ends when the file systems are thawed.")):
            volumes, seconds = snapshot_volumes(session, choose_member, timeout / 1000, take)
    result(
        f"{hook} took its snapshot of {volumes.member} on {volumes.host} ({', '.join(volumes.mounts)}), "
        f"which was frozen for {seconds:.1f} s at most and serves again."
    )
    return 0
