"""Backups in Prometheus' text format, for the node exporter's textfile collector.

The format: https://prometheus.io/docs/instrumenting/exposition_formats/. Every metric is a gauge with a fixed set of
labels; a value that is not known is not there.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final

from etcdplan.model.backups import Stores

_HELP: Final = {
    "last_success_timestamp_seconds": "When the newest backup that counts was begun.",
    "age_seconds": "How old that was when this was written.",
    "size_bytes": "Size of its snapshot, decrypted.",
    "revision": "The store's revision in it.",
    "verified": "1 for how far it was proven: checksum, or restore.",
    "last_trial_timestamp_seconds": "When the newest backup that was restored on trial was begun.",
    "kept": "Number of backups there, by their names.",
    "destination_up": "Whether the destination could be listed.",
    "destination_failed": "Whether the command failed at the destination.",
    "command_success": "Whether the command ended with 0.",
    "command_duration_seconds": "How long it took.",
    "command_timestamp_seconds": "When it ended.",
}
_PREFIX: Final = "etcdplan_backup_"


@dataclass(frozen=True, slots=True)
class CommandEnd:
    """How a command ended; `failed` are the destinations that it failed at. Times are in seconds."""

    command: str
    succeeded: bool
    began: float
    ended: float
    failed: Collection[str] = ()


def metrics_text(cluster: str, stores: Stores, end: CommandEnd) -> str:
    """Return what is known of a cluster's backups, by destination, and how a command ended."""
    found: dict[str, list[str]] = {name: [] for name in _HELP}
    for name, labels, value in (*_stores(stores, end), *_command(end)):
        said = ",".join(f'{key}="{_escaped(text)}"' for key, text in {"cluster": cluster, **labels}.items())
        found[name].append(f"{_PREFIX}{name}{{{said}}} {value}")
    lines: list[str] = []
    for name, samples in found.items():
        if samples:
            lines += [f"# HELP {_PREFIX}{name} {_HELP[name]}", f"# TYPE {_PREFIX}{name} gauge", *samples]
    return "\n".join(lines) + "\n"


_Sample = tuple[str, dict[str, str], str]


def _stores(stores: Stores, end: CommandEnd) -> Iterator[_Sample]:
    for place, fact in stores.items():
        at = {"destination": place}
        yield "destination_up", at, f"{int(fact.value is not None)}"
        yield "destination_failed", at, f"{int(place in end.failed)}"
        if fact.value is None:
            continue
        yield "kept", at, f"{len(fact.value.times)}"
        newest = next((one for one in fact.value.backups if one.whole), None)
        if newest is None:
            continue
        yield "last_success_timestamp_seconds", at, f"{newest.time}"
        yield "age_seconds", at, f"{end.ended - newest.time:.0f}"
        yield "size_bytes", at, f"{newest.size}"
        yield "revision", at, f"{newest.revision}"
        yield "verified", {**at, "level": newest.verified}, "1"
        restored = next((one for one in fact.value.backups if one.verified == "restore"), None)
        if restored is not None:
            yield "last_trial_timestamp_seconds", at, f"{restored.time}"


def _command(end: CommandEnd) -> Iterator[_Sample]:
    by = {"command": end.command}
    yield "command_success", by, f"{int(end.succeeded)}"
    yield "command_duration_seconds", by, f"{max(end.ended - end.began, 0):.3f}"
    yield "command_timestamp_seconds", by, f"{end.ended:.0f}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
