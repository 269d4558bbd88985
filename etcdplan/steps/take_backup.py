"""There is a backup to fall back on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from etcdplan.model.backup_effects import TakeBackup as Take
from etcdplan.model.backups import Backup, is_younger, newest_of
from etcdplan.model.effects import Effect
from etcdplan.model.state import State
from etcdplan.steps.base import Step


@dataclass(frozen=True, slots=True)
class TakeBackup(Step):
    """A backup of this cluster ID is there, verified as the policy asks and at most `max_age` seconds old.

    Time alone makes it due again, so it takes no part in a plan's digest and may come in any run.
    """

    kind = "take-backup"
    deadline = 3600
    renewable = True
    unasked = True

    cluster_id: int
    destinations: tuple[str, ...]
    verify: str
    max_age: int
    besides: str = ""
    """The name of one that does not count."""

    @property
    def subject(self) -> str:
        """The cluster's backups."""
        return "backup"

    def params(self) -> Mapping[str, Any]:
        """What counts."""
        besides = {"besides": self.besides} if self.besides else {}
        return {"verify": self.verify, "maxAge": self.max_age, **besides}

    def there(self, state: State) -> tuple[str, Backup] | None:
        """Return the newest that is verified as asked, whatever its age, and a destination that has it."""
        restored = self.verify == "restore"
        return newest_of(
            state.backups,
            self.destinations,
            self.cluster_id,
            restored=restored,
            now=state.now,
            besides=self.besides,
        )

    def effects(self, state: State) -> tuple[Effect, ...]:
        """Take one unless there is one, at whichever destination."""
        there = self.there(state)
        if there is not None and is_younger(there[1], self.max_age, state.now):
            return ()
        return (Take(self.cluster_id, self.destinations, self.verify),)

    def summary(self) -> str:
        """Say how far it is proven."""
        proven = "restored on trial" if self.verify == "restore" else "checked"
        return f"take a {'last ' if self.besides else ''}backup, {proven} before it counts"
