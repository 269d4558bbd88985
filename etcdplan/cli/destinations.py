"""Where the backups of a spec are, and who may have signed them: where the real ones are wired in."""

import time
from functools import partial
from typing import TYPE_CHECKING, Final

from etcdplan.backup.catalogue import read_catalogue
from etcdplan.backup.due import is_due
from etcdplan.backup.errors import DestinationError
from etcdplan.backup.manifest import written as stamped
from etcdplan.backup.seen import Watch, see
from etcdplan.backup.signing import PublicKey
from etcdplan.cli.keys import beside
from etcdplan.cli.output import progress
from etcdplan.errors import SpecError
from etcdplan.spec.document import read_regular_file
from etcdplan.spec.schedule import parse

if TYPE_CHECKING:
    from etcdplan.backup.catalogue import Catalogue
    from etcdplan.backup.destination import Destination
    from etcdplan.model.backups import Store
    from etcdplan.spec.backup import Backup
    from etcdplan.spec.load import LoadedSpec

PATIENCE: Final = 10.0
"""Seconds that a destination may take to say what it has, where nothing else is looked at."""


def destination(loaded: "LoadedSpec", place: str) -> "Destination":
    """Return a destination as the spec names it; raise `DestinationError` when its driver is not installed."""
    from etcdplan.backup.places import open_place

    return open_place(place, loaded.path.parent)


def trusted_keys(loaded: "LoadedSpec", policy: "Backup") -> list[PublicKey]:
    """Return the keys whose signature makes a backup count; raise `SpecError` or `BackupError`."""
    keys = []
    for name in policy.encryption.trusted_keys:
        path = beside(loaded, name)
        try:
            keys.append(PublicKey(read_regular_file(path), str(path)))
        except OSError as error:
            raise SpecError(
                f"The trusted key {path} cannot be read: {error.strerror}.",
                hint="spec.backup.encryption.trustedKeys names it; etcdplan backup keygen makes one.",
            ) from None
    return keys


def watch(loaded: "LoadedSpec", policy: "Backup") -> Watch:
    """Return what looks at each destination of a policy."""

    def look(place: str) -> "Store":
        return see(
            destination(loaded, place),
            loaded.spec.metadata.name,
            trusted_keys(loaded, policy),
            restored=policy.verify == "restore" or policy.max_trial_age is not None,
        )

    return Watch({place: partial(look, place) for place in policy.destinations})


def catalogues(
    loaded: "LoadedSpec", policy: "Backup", *, each_must_answer: bool
) -> "list[tuple[Destination, Catalogue]]":
    """Return what is at each destination; raise `DestinationError` for one that does not say, or when none does."""
    trusted, name = trusted_keys(loaded, policy), loaded.spec.metadata.name
    found, failures = [], []
    for place in policy.destinations:
        try:
            one = destination(loaded, place)
            found.append((one, read_catalogue(one, name, trusted)))
        except DestinationError as error:
            if each_must_answer:
                raise
            failures.append(error)
    for failure in failures:
        if not found:
            raise failure
        progress(f"Not looked at: {failure.message}")
    return found


def not_due(loaded: "LoadedSpec", policy: "Backup") -> str:
    """Say why no scheduled backup is to be taken now; empty when one is. Raises `SpecError` without a schedule."""
    if policy.schedule is None:
        raise SpecError(
            "The spec has no schedule for backups.", hint="Set spec.backup.schedule, or leave --if-due out."
        )
    schedule, now = parse(policy.schedule), int(time.time())
    if is_due(schedule, watch(loaded, policy).begin(PATIENCE, glance=False)(), now):
        return ""
    return f"None is due: one was taken since {stamped(schedule.last_before(now))}."
