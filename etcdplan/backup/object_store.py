"""Backups in S3. An object has its final name at once, and is there when all of it is; nothing is renamed.

Credentials are those that the driver finds in the runner's environment (variables, profile, the machine's role).
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, TypeVar

from etcdplan.backup.destination import Destination, Readable, Upload
from etcdplan.backup.errors import DestinationError

T = TypeVar("T")

PART: Final = 8 << 20
"""Bytes of one part of an upload; S3 takes 10,000 of them."""
STALL: Final = 120.0
"""Seconds that one call, of a part at most, may take: a store slower than 70 kB/s is of no use."""
_CONNECT: Final = 10


class ObjectStore(Destination):
    """A bucket of S3, or what is below a prefix of it."""

    def __init__(self, url: str) -> None:
        """Take an `s3://bucket/prefix`; raise `DestinationError` when its driver is not installed."""
        try:
            from s3fs import S3FileSystem
        except ImportError:
            raise DestinationError(
                f"{url} needs a driver that is not installed.", hint="pip install 'etcdplan[s3]'"
            ) from None
        self._url = url.rstrip("/")
        self._bucket, _, prefix = self._url.removeprefix("s3://").partition("/")
        self._prefix = f"{prefix}/" if prefix else ""
        self._files = S3FileSystem(
            anon=False,
            use_listings_cache=False,
            skip_instance_cache=True,
            max_concurrency=1,
            config_kwargs={"connect_timeout": _CONNECT, "read_timeout": 60, "retries": {"max_attempts": 2}},
        )

    def __str__(self) -> str:
        return self._url

    def names(self) -> frozenset[str]:
        found: set[str] = set()
        more: dict[str, str] = {}
        while True:
            page = self._call("listed", "list_objects_v2", Prefix=self._prefix, Delimiter="/", **more)
            found.update(one["Key"].removeprefix(self._prefix) for one in page.get("Contents", ()))
            if not page.get("IsTruncated"):
                return frozenset(found - {""})
            more = {"ContinuationToken": page["NextContinuationToken"]}

    @contextmanager
    def reader(self, name: str) -> Iterator[Readable]:
        what = f"asked for {name}"
        file = self.within(
            what,
            lambda: self._files.open(self._path(name), "rb", block_size=PART, cache_type="readahead"),
        )
        try:
            yield _Reader(self, what, file)
        finally:
            with suppress(Exception):
                file.close()

    def upload(self, name: str) -> Upload:
        # "x": the store itself refuses a name that there is. Not committed by a close, which Python's end does as well.
        what = f"given {name}"
        return _Upload(
            self,
            what,
            self.within(
                what, lambda: self._files.open(self._path(name), "xb", block_size=PART, autocommit=False)
            ),
        )

    def delete(self, name: str) -> None:
        self._call(f"rid of {name}", "delete_object", Key=self._prefix + name)

    def left_over(self) -> frozenset[str]:
        return frozenset()

    def remove_left_over(self) -> None:
        """Leave unfinished uploads to the bucket's lifecycle rule: `run` has no right to remove anything."""

    def _path(self, name: str) -> str:
        return f"{self._bucket}/{self._prefix}{name}"

    def _call(self, what: str, method: str, **arguments: object) -> Any:
        return self.within(what, lambda: self._files.call_s3(method, Bucket=self._bucket, **arguments))

    def within(self, what: str, act: Callable[[], T]) -> T:
        """Return what `act` does in time; raise `DestinationError` for whatever the driver raises."""
        done: list[T] = []
        failed: list[Exception] = []

        def run() -> None:
            try:
                done.append(act())
            except Exception as error:  # noqa: BLE001 - the driver's, its HTTP client's and the store's own
                failed.append(error)

        # A thread that does not hold the program's end up: the driver waits for each byte anew, however slow they come.
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join(STALL)
        if failed:
            raise DestinationError(
                f"{self} could not be {what}: {_reason(failed[0])}.",
                hint="Check the bucket's name, the credentials in the environment and what they permit.",
            ) from None
        if not done:
            raise DestinationError(
                f"{self} could not be {what}: it makes no progress ({STALL:.0f} s).",
                hint="Check the way to the store.",
            )
        return done[0]


def _reason(error: Exception) -> str:
    """Return the driver's words in one line; it has none of a secret, and not its own chain of causes."""
    words = str(error).splitlines()
    return (words[0][:200].rstrip(".") if words else "") or type(error).__name__


class _Reader:
    def __init__(self, store: ObjectStore, what: str, file: Any) -> None:
        self._store, self._what, self._file = store, what, file

    def read(self, size: int, /) -> bytes:
        data: bytes = self._store.within(self._what, lambda: self._file.read(size))
        return data


class _Upload(Upload):
    def __init__(self, store: ObjectStore, what: str, file: Any) -> None:
        super().__init__()
        self._store, self._what, self._file = store, what, file
        self._held = bytearray()

    def _add(self, data: bytes) -> None:
        self._held += data
        if len(self._held) >= PART:
            self._send()

    def _send(self) -> None:
        held, self._held = bytes(self._held), bytearray()
        self._store.within(self._what, lambda: self._file.write(held))

    def _commit(self) -> None:
        if self._held:
            self._send()
        self._store.within(self._what, self._file.close)
        self._store.within(self._what, self._file.commit)

    def give_up(self) -> None:
        # Closed without a flush: what is left of the upload must not be sent when the object is collected.
        self._file.closed = True
        with suppress(DestinationError):
            self._store.within(self._what, self._file.discard)
