"""Backups, as text and as JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from etcdplan.render.printable import printable

if TYPE_CHECKING:
    from etcdplan.backup.catalogue import Catalogue
    from etcdplan.backup.destination import Destination
    from etcdplan.backup.manifest import Manifest, Trial
    from etcdplan.backup.take import Taken

_MIB = 1024**2
_BAR = 30


def taken_text(taken: "Taken") -> str:
    """Return what a new backup is."""
    one = taken.manifest
    lines = [
        f"Backup {one.name}",
        f"  from       {printable(one.member)}, etcd {one.etcd_version}, revision {one.revision}",
        f"  size       {_mib(one.size)}, encrypted for {len(one.recipients)} recipient(s)",
        f"  verified   {_verified(one, one.trial)}",
    ]
    lines += [f"  holds      {line}" for line in origin_lines(one)]
    if one.include is not None:
        hosts = len({file.host for file in one.include.files})
        lines.append(f"  with       {len(one.include.files)} files of {hosts} host(s)")
        lines += [
            f"  without    {printable(left.path or 'files')} of {printable(left.host)}: {printable(left.why)}"
            for left in one.include.left_out
        ]
    return "\n".join([*lines, *(f"  in         {printable(place)}" for place in taken.destinations)])


def origin_lines(manifest: "Manifest") -> list[str]:
    """Say how a backup was got and what may be missing in it; nothing for one from a member that served."""
    origin = manifest.origin
    if origin is None:
        return []
    member = printable(manifest.member)
    if origin.kind == "database":
        return [
            f"the database that {member} left, without its log: the writes of its last moments are missing, "
            "and those that it never had"
        ]
    how = "had, without quorum" if origin.kind == "survivor" else "left, data and log"
    behind = f", of which there are some up to {origin.last}" if origin.last > origin.index else ""
    return [f"what {member} {how}: entries up to {origin.index}; writes past it{behind} are uncertain"]


def files_text(manifest: "Manifest") -> str:
    """Return the files of hosts that a backup has, with the mode and the owner that each had."""
    files = manifest.include.files if manifest.include is not None else ()
    return "\n".join(f"  {one.mode}  {printable(one.owner):<12}  {printable(one.place)}" for one in files)


def proven_text(manifest: "Manifest", place: str, trial: "Trial") -> str:
    """Return what a trial restore found."""
    return f"{manifest.name} in {printable(place)}: {_verified(manifest, trial)}"


def catalogues_text(cluster: str, catalogues: "Sequence[tuple[Destination, Catalogue]]") -> str:
    """Return a table for each destination."""
    lines = []
    for destination, catalogue in catalogues:
        lines.append(f"Backups of {cluster} in {printable(str(destination))}")
        if not catalogue.backups:
            lines.append("  none that counts")
        lines += [
            f"  {one.name}  {one.taken_at}  {_mib(one.size):>12}  {one.verified:8}  r{one.revision}"
            for one in catalogue.backups
        ]
        for name, why in catalogue.distrusted.items():
            lines.append(f"  {printable(name)} does not count: {printable(why)}")
        for name, why in catalogue.unknown.items():
            lines.append(f"  {printable(name)} may count, which could not be read: {printable(why)}")
        for name in sorted(catalogue.left_over):
            lines.append(f"  {printable(name)} was left over by a run that died; the next one removes it")
    return "\n".join(lines)


def pruning_text(cluster: str, kept: "Sequence[tuple[Destination, Mapping[str, tuple[str, ...]]]]") -> str:
    """Return which backups go and which stay, and why, for each destination."""
    lines = []
    for destination, reasons in kept:
        lines.append(f"Backups of {cluster} in {printable(str(destination))}")
        if not reasons:
            lines.append("  none that counts")
        lines += [
            f"  {'keep' if why else 'remove':6}  {name}  {', '.join(why)}".rstrip()
            for name, why in reasons.items()
        ]
    going = sum(not why for _, reasons in kept for why in reasons.values())
    return "\n".join([*lines, "", f"{going} to remove." if going else "Nothing to remove."])


def catalogues_json(catalogues: "Sequence[tuple[Destination, Catalogue]]") -> dict[str, Any]:
    """Return the same as JSON values."""
    return {
        "formatVersion": 1,
        "destinations": [
            {
                "destination": str(destination),
                "backups": [one.model_dump(mode="json", exclude_none=True) for one in catalogue.backups],
                "distrusted": dict(catalogue.distrusted),
                "unknown": dict(catalogue.unknown),
                "leftOver": sorted(catalogue.left_over),
            }
            for destination, catalogue in catalogues
        ],
    }


def _verified(manifest: "Manifest", trial: "Trial | None") -> str:
    if trial is None:
        return "checksum only; it was not restored"
    compared = "equal to the member's" if trial.compared_with_member else "not compared with the member's"
    objects = f"{trial.objects_read} objects read"
    if trial.objects_encrypted:
        objects += f", {trial.objects_encrypted} encrypted at rest"
    return f"restored and served by etcd {trial.version}: {trial.keys} keys, HashKV {compared}, {objects}"


def _mib(size: int) -> str:
    return f"{size / _MIB:.1f} MiB"


@dataclass(slots=True)
class Progress:
    """How far a snapshot is, at most ten times a second. Times are of a clock that the caller reads, in seconds."""

    begun: float = 0.0
    shown: float = 0.0

    def line(self, done: int, expected: int, now: float) -> str:
        """Return a line to show, or nothing yet."""
        self.begun = self.begun or now
        if now - self.shown < 0.1 and done < expected:
            return ""
        self.shown = now
        rate = done / max(now - self.begun, 0.001)
        left = f", {(expected - done) / rate:.0f} s left" if 0 < done < expected else ""
        full = round(_BAR * min(done / max(expected, 1), 1))
        bar = "#" * full + "-" * (_BAR - full)
        return f"[{bar}] {_mib(done)} of {_mib(expected)}, {_mib(int(rate))}/s{left}"
