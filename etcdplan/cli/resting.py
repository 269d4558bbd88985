"""The backup that a plan rests on, taken by `apply`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from etcdplan.cli.taking import Taking
from etcdplan.errors import EtcdplanError, RefusedError, StoppedError

if TYPE_CHECKING:
    from etcdplan.cli.cluster import LiveCluster
    from etcdplan.model.state import State
    from etcdplan.planner.document import PlanDocument


@dataclass(frozen=True)
class BackupTaker:
    """Takes backups of a cluster with the keys and programs of this machine, as `apply.calls.TakesBackups` says."""

    cluster: "LiveCluster"
    identities: Sequence[Path]
    etcd_dir: Path | None = None
    scratch: Path | None = None

    def prepare(self, verify: str) -> None:
        """Read the key and look for the programs before anything is done; raise `RefusedError` when something lacks."""
        try:
            self._taking(verify).prepare(self.cluster)
        except EtcdplanError as error:
            message = f"The plan rests on a backup, and none can be taken from here: {error.message}"
            raise RefusedError(message, hint=error.hint) from error

    def take(self, state: "State", verify: str) -> None:
        """Take one, and have the next look see it."""
        try:
            taken = self._taking(verify).from_member(self.cluster, state)
        except (EtcdplanError, OSError) as error:
            what = error.message if isinstance(error, EtcdplanError) else f"{error.strerror or error}."
            raise StoppedError(
                f"The backup that the plan rests on was not made: {what}",
                hint="Mend that, then go on with: etcdplan apply --resume SPEC. "
                "When no destination answers, name another one in spec.backup, such as a directory; a restore goes on "
                "without when the members that still serve are stopped by hand.",
            ) from error
        if self.cluster.backups is not None:
            self.cluster.backups.renew(taken.manifest.name)

    def _taking(self, verify: str) -> Taking:
        return Taking.of(self.cluster, self.identities, self.etcd_dir, self.scratch, verify=verify)


def prepare(taker: BackupTaker, plan: "PlanDocument") -> None:
    """Raise `RefusedError` when the plan takes a backup that cannot be taken from here."""
    for step in plan.steps:
        if step.kind == "take-backup":
            taker.prepare(step.params["verify"])
