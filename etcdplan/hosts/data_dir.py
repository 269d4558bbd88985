"""etcd's data directory: whose data it holds, and how it is set aside.

A member's identity is written in its write-ahead log. Source: etcd `server/storage/wal` and `etcdserverpb.Metadata`.
"""

import contextlib
import errno
import re
import shutil
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path

from etcdplan.hosts.files import sync, sync_directory
from etcdplan.hosts.wal import CRC, METADATA, fields, record_fields
from etcdplan.model.state import Data

HEAD = 4096
"""Bytes at the beginning of a segment in which its identity is."""

_ASIDE = "set-aside-"
STAGED = "staged-by-etcdplan"
"""In the data directory: a restored one, with nothing but `member` in it. It is whole: it comes by a rename."""
_OURS = re.compile(rf"member|lost\+found|default|{_ASIDE}.*|{STAGED}|\.touch")
"""What is no loss. `default` is where Debian's unit has its data: that counts where it is the data directory itself.
`.touch` is etcd's own: written and removed at every start (fileutil.IsDirWriteable)."""


def read_data(data_dir: Path, wal_dir: Path | None) -> Data | None:
    """Say whose data is there; None when etcd would start empty and destroy nothing of value.

    `wal_dir` is the directory of the log when it is not in the data directory. Raises `OSError`.
    """
    log = wal_dir or data_dir / "member/wal"
    names = _names(log)
    heads = (_head(log / name) for name in segments(names))
    return judge(
        str(data_dir), str(wal_dir or ""), names=lambda: _names(data_dir), log_names=names, heads=heads
    )


def segments(names: Iterable[str]) -> list[str]:
    """Return those of the names in a log's directory that are its segments, the newest first."""
    return sorted((name for name in names if name.endswith(".wal")), reverse=True)


def judge(
    data_dir: str,
    wal_dir: str,
    *,
    names: Callable[[], Iterable[str]],
    log_names: Iterable[str],
    heads: Iterable[bytes],
) -> Data | None:
    """Say whose data it is, given what is in its directory, in its log's, and at the head of the log's segments.

    `wal_dir` is empty when the log is in the data directory. A head is the first `HEAD` bytes, empty when it is gone.
    """
    for head in heads:
        with contextlib.suppress(ValueError):
            return _identity(head)
    if segments(log_names):
        return Data(
            0, 0, foreign=f"a damaged write-ahead log in {wal_dir or f'{data_dir}/member/wal'}", damaged=True
        )
    strange = [name for name in names() if not _OURS.fullmatch(name)]
    # Making its log, etcd removes whatever is in the log's directory (wal.go, renameWAL).
    strange += [f"{wal_dir}/{name}" for name in (log_names if wal_dir else ()) if name != ".touch"]
    if strange:
        more = f" and {len(strange) - 3} more" if len(strange) > 3 else ""
        return Data(0, 0, foreign=f"{', '.join(strange[:3])}{more} in {data_dir}")
    return None


def set_aside(data_dir: Path, wal_dir: Path | None) -> None:
    """Rename what etcd would read, to names that it does not. Nothing is moved off its file system. Raises `OSError`.

    The data directory may be a mount point, so its content goes into a directory in it. A separate log directory never
    is one (etcd replaces it as a whole, and with it whatever were set aside inside), so it is renamed itself; it goes
    last, because the identity is in it: until then the data counts as there.
    """
    time = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    if "member" in _names(data_dir):
        aside = _free(data_dir / f"{_ASIDE}{time}")
        aside.mkdir(mode=0o700)
        (data_dir / "member").rename(aside / "member")
        sync_directory(aside)
        sync_directory(data_dir)
    if wal_dir is not None and wal_dir.name in _names(wal_dir.parent):
        wal_dir.rename(_free(wal_dir.with_name(f"{wal_dir.name}.{_ASIDE}{time}")))
        sync_directory(wal_dir.parent)


def read_staged(data_dir: Path, wal_dir: Path | None) -> Data | None:
    """Say whose data lies restored beside the data; None when nothing does. Raises `OSError`."""
    return read_data(data_dir / STAGED, _staged_log(wal_dir) if wal_dir else None)


def _staged_log(wal_dir: Path) -> Path:
    """Return where a separate log waits: on its own file system."""
    return wal_dir.with_name(f"{wal_dir.name}.{STAGED}")


def stage(data_dir: Path, wal_dir: Path | None, root: Path) -> None:
    """Copy a restored data directory beside the data, as a whole, in the place of one that was there.

    The data directory is made when there is none. The log comes last, because the identity is in it: until then nothing
    counts as staged. Raises `OSError`.
    """
    data_dir.mkdir(mode=0o700, exist_ok=True)
    waits = data_dir / STAGED
    copies = [(root / "member", waits / "member")]
    if wal_dir is not None:
        copies = [(root / "member/snap", waits / "member/snap"), (root / "member/wal", _staged_log(wal_dir))]
    discard(data_dir, wal_dir)
    try:
        for source, place in copies:
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            part = place.with_name(f"{place.name}.part")
            shutil.copytree(source, part)
            for path in (part, *part.rglob("*")):
                path.chmod(0o700 if path.is_dir() else 0o600)
                sync(path)
            part.rename(place)
            sync_directory(place.parent)
        sync_directory(data_dir)
    except OSError:
        discard(data_dir, wal_dir)
        raise


def discard(data_dir: Path, wal_dir: Path | None) -> None:
    """Remove what is staged, the log first, or what is left of it. Raises `OSError`."""
    log = _staged_log(wal_dir) if wal_dir else data_dir / STAGED / "member/wal"
    for old in (log, log.with_name(f"{log.name}.part"), data_dir / STAGED):
        if old.exists():
            shutil.rmtree(old)


def adopt(data_dir: Path, wal_dir: Path | None) -> None:
    """Rename staged data to where etcd reads them; may be repeated after it was cut off. Raises `OSError`.

    A separate log comes last, because the identity is in it: until then the data counts as absent, and as staged. What
    counts as no data is not in the way: a member without a log is set aside, but only while the restored one waits.
    """
    waits = data_dir / STAGED
    if (waits / "member").exists():
        if (data := read_data(data_dir, wal_dir)) is not None:
            raise FileExistsError(errno.EEXIST, f"there are data in the way ({data.foreign or 'of etcd'})")
        set_aside(data_dir, None)
        (waits / "member").rename(data_dir / "member")
        sync_directory(data_dir)
    if wal_dir is not None:
        (wal_dir / ".touch").unlink(missing_ok=True)
        _staged_log(wal_dir).rename(wal_dir)
        sync_directory(wal_dir.parent)
    waits.rmdir()


def _free(path: Path) -> Path:
    number = 1
    while (candidate := path.with_name(f"{path.name}-{number}")).exists():
        number += 1
    return candidate


def _head(segment: Path) -> bytes:
    try:
        with segment.open("rb") as file:
            return file.read(HEAD)
    except FileNotFoundError:
        return b""


def _names(directory: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in directory.iterdir())
    except FileNotFoundError:
        return []


def _identity(head: bytes) -> Data:
    """Read the identity at the head of a segment: a CRC record, then the metadata; raise `ValueError`."""
    first, offset = record_fields(head, 0)
    second, _ = record_fields(head, offset)
    data = second.get(3)
    if first.get(1) != CRC or second.get(1) != METADATA or not isinstance(data, bytes):
        raise ValueError("a segment starts with a CRC record and metadata")
    metadata = dict(fields(data))
    member, cluster = metadata.get(1), metadata.get(2)
    if not isinstance(member, int) or not isinstance(cluster, int) or not member or not cluster:
        raise ValueError("the metadata lacks an ID")
    return Data(cluster, member)
