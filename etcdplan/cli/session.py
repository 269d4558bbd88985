"""A session of apply with everything real: progress to standard error, signals to checkpoints."""

import shlex
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import cast

from etcdplan.apply.calls import RestoreSource, TakesBackups
from etcdplan.apply.events import Event, Interrupting, StepWaiting
from etcdplan.apply.failpoints import (
    Boundaries,
    FailpointEffects,
    FailpointHosts,
    FailpointStore,
    from_environment,
)
from etcdplan.apply.holder import Holder
from etcdplan.apply.journal import RunnerFiles
from etcdplan.apply.session import Session
from etcdplan.cli.backup import restore_source
from etcdplan.cli.cluster import LiveCluster
from etcdplan.cli.interrupt import interruptible
from etcdplan.cli.output import progress
from etcdplan.cli.resting import BackupTaker
from etcdplan.errors import EtcdplanError
from etcdplan.hosts.own_archive import packed
from etcdplan.hosts.ports import Hosts
from etcdplan.render.progress import event_text


@cache
def _boundaries() -> Boundaries:
    """Return where tests can end this process."""
    return Boundaries(from_environment())


def with_failpoints(hosts: Hosts) -> Hosts:
    """Wrap every effect, so that tests can end this process at each of them."""
    return FailpointHosts(hosts, _boundaries())


class _Patience:
    """Lets through what people want to hear of waiting: a step looks often, they are told once in ten seconds."""

    def __init__(self) -> None:
        self._told = (0, 0)

    def too_soon(self, event: Event) -> bool:
        """Whether an event only repeats what was said in the same ten seconds of the same step."""
        if not isinstance(event, StepWaiting):
            return False
        now = (event.index, int(event.elapsed // 10))
        again = now[1] == 0 or now == self._told
        self._told = now
        return again


@contextmanager
def _naming(spec: Path) -> Iterator[None]:
    """Have hints name the spec that the command was given, so that they can be copied."""
    try:
        yield
    except EtcdplanError as error:
        command = "etcdplan apply --resume"
        named = f"\n    {command} {shlex.quote(str(spec))}"
        error.hint = error.hint.replace(f" {command} SPEC.", named)
        raise


@contextmanager
def session_of(
    cluster: LiveCluster,
    identities: Sequence[Path],
    *,
    color: bool,
    etcd_dir: Path | None = None,
    scratch: Path | None = None,
    backups: RestoreSource | None = None,
) -> Iterator[Session]:
    """Wire a session: progress to standard error, signals to checkpoints, the CA's key read before anything is done.

    Restores and backups find etcd's programs in `etcd_dir` and work in `scratch`, if they are given. `backups` is for a
    restore whose snapshot was read already.
    """

    patience = _Patience()

    def tell(event: Event) -> None:
        if not patience.too_soon(event):
            progress(event_text(event, color=color))

    signer = cluster.signer(identities)
    if signer is not None:
        signer.load()
    hooks = None
    if cluster.target.drain:
        from etcdplan.cli.hooks import Hooks

        hooks = Hooks.here()
        hooks.require(cluster.target.drain)
    with ExitStack() as stack:
        stack.enter_context(_naming(cluster.loaded.path))
        stop = stack.enter_context(interruptible(lambda again: tell(Interrupting(again))))
        source, taker = backups, None
        if cluster.loaded.spec.spec.backup is not None:
            if source is None:
                own_source = restore_source(cluster, identities, etcd_dir, scratch)
                stack.callback(own_source.close)
                source = own_source
            own = BackupTaker(cluster, identities, etcd_dir, scratch)
            taker = cast(TakesBackups, FailpointEffects(own, _boundaries(), "runner"))
        yield Session(
            target=cluster.target,
            spec_digest=cluster.digest,
            hosts=cluster.hosts,
            observe=cluster.observe,
            signer=signer,
            runner=FailpointStore(RunnerFiles.home(), _boundaries(), "runner"),
            holder=Holder.here("apply"),
            clock=cluster.clock,
            tell=tell,
            stop=stop,
            each=cluster.each,
            hook=hooks.run if hooks else None,
            programs=cluster.archive.files if cluster.archive else None,
            backups=source,
            taker=taker,
            packed=packed,
        )
