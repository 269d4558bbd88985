"""A snapshot from what a stopped etcd left: a private copy is opened by an etcd that reaches no other.

The database alone lacks what is only in the log, so etcd itself has to open both: with `--force-new-cluster`, which
keeps what the member knew to be agreed on and drops the rest. It dials the other members before it drops them, and they
would take it for the member whose data it has. So the log of the copy is made that of another cluster first.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from etcdplan.backup.errors import BackupError
from etcdplan.backup.etcd_tools import EtcdTools
from etcdplan.backup.isolated import isolated_etcd
from etcdplan.hosts.data_copy import DATABASE, DataOnHost
from etcdplan.hosts.data_dir import segments
from etcdplan.hosts.wal import LogEnd, in_another_cluster, log_end
from etcdplan.transport.etcd import EtcdClient

_FORCED = {(3, 5): 25, (3, 6): 6}
"""Patches from which `--force-new-cluster` leaves nothing of other members behind, learners included (CHANGELOGs)."""


@dataclass(frozen=True, slots=True)
class ColdCopy:
    """An etcd that serves what a stopped one left. `whole`: with what was only in the log, up to `end.commit`."""

    etcd: EtcdClient
    end: LogEnd
    whole: bool


@contextmanager
def opened_copy(
    data: DataOnHost,
    tools: EtcdTools,
    name: str,
    *,
    scratch: Path | None = None,
    passed: Callable[[int, int], None] = lambda _done, _all: None,
) -> Iterator[ColdCopy]:
    """Copy a stopped member's data into a private directory and serve them from there until the context is left.

    `scratch` is where that directory lies. `passed` is told the bytes copied, and how many there are. The original is
    only read. Raises `BackupError` for data of which no etcd can be made, and what `DataOnHost` raises.
    """
    whole = _opens_logs(tools)
    with tempfile.TemporaryDirectory(prefix="etcdplan-", dir=scratch) as directory:
        place = Path(directory)
        copy = place / "data"
        with _plainly(place):
            _copy(data, copy / "member", passed)
        log = {name: copy / "member/wal" / name for name in _names(copy / "member/wal")}
        end = _end(log)
        if whole:
            with _plainly(place):
                _move(log)
        else:
            for path in (*log.values(), *(copy / "member/snap").glob("*.snap*")):
                path.unlink()
            (copy / "member/wal").rmdir()
        with isolated_etcd(tools, copy, place, name=name, token=_TOKEN, force_new_cluster=whole) as etcd:
            yield ColdCopy(etcd, end, whole)


_TOKEN = "etcdplan-copy"  # noqa: S105 - no secret: it tells clusters apart


def _opens_logs(tools: EtcdTools) -> bool:
    """Whether the etcd that is here opens data and log soundly; etcd 3.4 gets the database alone."""
    major, minor, patch = (int(part) for part in tools.version.split("."))
    if (major, minor) < (3, 5):
        return False
    if patch < _FORCED.get((major, minor), 0):
        raise BackupError(
            f"etcd {tools.version} on this machine does not open a member's data soundly.",
            hint=f"Name a directory with {major}.{minor}.{_FORCED[major, minor]} or later: --etcd-dir DIR.",
        )
    return True


def _copy(data: DataOnHost, into: Path, passed: Callable[[int, int], None]) -> None:
    with data.stopped() as stopped:
        sizes = stopped.files
        if DATABASE not in sizes:
            raise BackupError("There is no database among the data.", hint="Name a member that has data.")
        done = 0
        for part in ("snap", "wal"):
            (into / part).mkdir(parents=True, mode=0o700)
        for name, size in sizes.items():
            with (into / name).open("xb") as file:
                while file.tell() < size:
                    piece = stopped.read(name, file.tell())
                    if not piece:
                        raise BackupError(
                            f"{name} became shorter while it was copied.", hint="Copy it again."
                        )
                    file.write(piece)
                    done += len(piece)
                    passed(done, sum(sizes.values()))


def _end(log: Mapping[str, Path]) -> LogEnd:
    for name in segments(log):
        try:
            return log_end(name, log[name].read_bytes())
        except ValueError as error:
            raise BackupError(f"The member's log cannot be read: {error}.", hint=_OTHER) from None
    raise BackupError("There is no log among the data.", hint=_OTHER)


def _move(log: Mapping[str, Path]) -> None:
    passed = 0
    for name in reversed(segments(log)):
        try:
            content, passed = in_another_cluster(log[name].read_bytes(), passed)
        except ValueError as error:
            raise BackupError(f"The member's log cannot be read: {error}.", hint=_OTHER) from None
        log[name].write_bytes(content)


_OTHER = "Take the data of another member, or restore a backup."


def _names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


@contextmanager
def _plainly(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BackupError(
            f"The data could not be copied to {place}: {error.strerror or error}.",
            hint="--scratch names another directory; it needs room for data and log.",
        ) from None
