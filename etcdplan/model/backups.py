"""What is known of a cluster's backups: read from the destinations, and moved forward when one is taken."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from etcdplan.model.facts import Fact

AHEAD = 300
"""Seconds by which the clock of whoever took a backup may be ahead of this machine's."""


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup that counts: its signed manifest is there. `time` is when its snapshot began, unix seconds.

    `verified` is `restore` when it was restored on trial, at that time; else `checksum`. `whole`: it has all that was
    acknowledged before; one that was got without quorum, or from a stopped member, may lack some. `taken`: when this
    run had taken it, 0 for all that others took.
    """

    name: str
    cluster_id: int
    time: int
    revision: int
    size: int
    verified: str
    whole: bool = True
    taken: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Store:
    """What one destination has of a cluster, the newest first.

    `backups` are those whose manifests were read: from the newest on, until one was found that had been restored.
    `times` are those of all that have a manifest, by their names. `distrusted` is why the newest does not count.
    """

    backups: tuple[Backup, ...] = ()
    times: tuple[int, ...] = ()
    distrusted: str = ""

    def newest(
        self, cluster_id: int, *, restored: bool, besides: str = "", now: int | None = None
    ) -> Backup | None:
        """Return the newest whole backup of that cluster ID, of those that were restored on trial if that is asked.

        The one with the name `besides` does not count, nor do those from the future if `now` is given.
        """
        whole = (
            one
            for one in self.backups
            if one.cluster_id == cluster_id and one.whole and (now is None or one.time <= now + AHEAD)
        )
        fits = (one for one in whole if not besides or one.name != besides)
        return next((one for one in fits if one.verified == "restore" or not restored), None)


Stores = Mapping[str, Fact[Store]]
"""By destination, as the spec names it. One that is not there was not looked at."""


def newest_of(
    stores: Stores, places: Sequence[str], cluster_id: int, *, restored: bool, now: int, besides: str = ""
) -> tuple[str, Backup] | None:
    """Return the newest backup of a cluster ID, and the first place that has it.

    Of what is unknown nothing counts, and of what is from the future.
    """
    known = [(place, fact.value) for place in places if (fact := stores.get(place)) and fact.value]
    found = [
        (place, store.newest(cluster_id, restored=restored, besides=besides, now=now))
        for place, store in known
    ]
    return max(
        ((place, one) for place, one in found if one is not None), key=lambda pair: pair[1].time, default=None
    )


def is_younger(backup: Backup, age: int, now: int) -> bool:
    """Whether a backup is at most so many seconds old; one from the future is not.

    One that this run took because it needed one was begun in time, however long it took: it is as old as its end.
    """
    return now - backup.time >= -AHEAD and now - max(backup.time, backup.taken) <= age


def told(seconds: int) -> str:
    """Return an age for people, in one unit."""
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{max(seconds, 0)} s"
