"""What destinations have, as a fact of the cluster's state: in bounded time, by lists and manifests alone."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from etcdplan.backup.catalogue import read_manifest
from etcdplan.backup.destination import Destination
from etcdplan.backup.errors import BackupError, DestinationError
from etcdplan.backup.manifest import MANIFEST, Manifest, cluster_of, time_of
from etcdplan.backup.signing import PublicKey
from etcdplan.errors import EtcdplanError
from etcdplan.model.backups import AHEAD, Backup, Store, Stores
from etcdplan.model.facts import Fact, known, unknown

MANIFESTS: Final = 40
"""How many manifests are read at most, from the newest on, in search of one that says that it was restored."""
PATIENCE: Final = 5.0
"""Seconds that a destination may take, at least, to say what it has."""


def see(
    destination: Destination,
    cluster: str,
    trusted: Sequence[PublicKey],
    *,
    now: int | None = None,
    restored: bool = True,
) -> Store:
    """Return what a destination has of a cluster; raise `DestinationError` when it does not say, of one that matters.

    Manifests are read until one counts that was restored on trial; unless `restored`, until one counts at all. Past
    `now` (unix seconds; this machine's by default) none ends the search: it counts for nothing until its time comes.
    """
    latest = (int(time.time()) if now is None else now) + AHEAD
    there = destination.sizes()
    names = {
        name: begun
        for file in there
        if file.endswith(MANIFEST)
        and (begun := time_of(name := file.removesuffix(MANIFEST))) is not None
        and cluster_of(name) == cluster
    }
    ordered = sorted(names, key=lambda name: (names[name], name), reverse=True)
    read: list[Backup] = []
    distrusted = ""
    for number, name in enumerate(ordered[:MANIFESTS]):
        try:
            manifest = read_manifest(destination, name, trusted, there)
        except DestinationError:
            if name + MANIFEST in destination.names():
                raise
            continue  # Pruned in between.
        except BackupError as error:
            distrusted = distrusted or ("" if number else error.message)
            continue
        if manifest.cluster == cluster:
            read.append(backup_of(manifest))
            proven = manifest.verified == "restore" or not restored
            if proven and manifest.origin is None and manifest.time <= latest:
                break
    read.sort(key=lambda one: (one.time, one.name), reverse=True)
    return Store(tuple(read), tuple(names[name] for name in ordered), distrusted)


def backup_of(manifest: Manifest) -> Backup:
    """Return what a state knows of a backup."""
    return Backup(
        manifest.name,
        int(manifest.cluster_id, 16),
        manifest.time,
        manifest.revision,
        manifest.size,
        manifest.verified,
        whole=manifest.origin is None,
    )


class Watch:
    """Looks at destinations beside whatever else is looked at, and remembers what it saw for hasty glances."""

    def __init__(self, looks: Mapping[str, Callable[[], Store]]) -> None:
        """Take what looks at each destination; it may raise `EtcdplanError`, and may take forever."""
        self._looks = looks
        self._seen: dict[str, Fact[Store]] = {}
        self._due = True
        self._taken: dict[str, int] = {}

    def renew(self, taken: str) -> None:
        """Have the next look be a real one, glance or not: a backup of that name was taken just now."""
        self._due = True
        self._taken[taken] = int(time.time())

    def begin(self, wait: float, *, glance: bool) -> Callable[[], Stores]:
        """Begin a look that may take so many seconds, and return what gives its result; a glance gives the last one."""
        if glance and not self._due:
            return lambda: self._seen
        self._due = False
        if (
            glance
        ):  # It cannot be done without, however hasty the glance: a backup was taken, and is to be seen.
            wait = max(wait, PATIENCE)
        end = time.monotonic() + wait
        found: dict[str, Fact[Store]] = {}
        # Daemons: one that hangs in a dead file system must not keep this process.
        threads = [
            threading.Thread(
                target=self._look, args=(place, look, found), daemon=True, name=f"look at {place}"
            )
            for place, look in self._looks.items()
        ]
        for thread in threads:
            thread.start()

        def result() -> Stores:
            for thread in threads:
                thread.join(max(end - time.monotonic(), 0))
            silent = {
                place: unknown(f"backup/{place}", f"no answer within {wait:g} s") for place in self._looks
            }
            self._seen = {**silent, **found}
            return self._seen

        return result

    def _look(self, place: str, look: Callable[[], Store], found: dict[str, Fact[Store]]) -> None:
        try:
            store = look()
            dated = tuple(replace(one, taken=self._taken.get(one.name, 0)) for one in store.backups)
            found[place] = known(replace(store, backups=dated), seen=place)
        except EtcdplanError as error:
            found[place] = unknown(f"backup/{place}", error.message)
