"""Backups in object stores. An object has its final name at once, and is there when all of it is; nothing is renamed.

Credentials are those that a store's driver finds in the runner's environment (variables, files, the machine's role).
"""

import threading
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from importlib import import_module
from typing import Any, ClassVar, Final, TypeVar

from etcdplan.backup.destination import Destination, Readable, Upload
from etcdplan.backup.errors import DestinationError
from etcdplan.backup.manifest import MANIFEST

T = TypeVar("T")

PART: Final = 8 << 20
"""Bytes of one part of an upload; S3 takes 10,000 of them, Azure 50,000."""
STALL: Final = 120.0
"""Seconds that one call, of a part at most, may take: a store slower than 70 kB/s is of no use."""
CONNECT: Final = 10
READ: Final = 60
"""Seconds that a driver waits for a connection, and for a byte."""


class ObjectStore(Destination):
    """A bucket, or what is below a prefix of it."""

    module: ClassVar[str]
    """The driver, and the extra that installs it."""
    extra: ClassVar[str]

    def __init__(self, url: str) -> None:
        """Take a `SCHEME://bucket/prefix`; raise `DestinationError` when its driver is not installed."""
        try:
            self._driver: Any = import_module(self.module)
        except ImportError:
            raise DestinationError(
                f"{url} needs a driver that is not installed.", hint=f"pip install 'etcdplan[{self.extra}]'"
            ) from None
        self._url = url.rstrip("/")
        self._bucket, _, prefix = self._url.partition("://")[2].partition("/")
        self._prefix = f"{prefix}/" if prefix else ""

    def __str__(self) -> str:
        return self._url

    @cached_property
    def _files(self) -> Any:
        """The driver's file system: made at the first use, which is where it may find no credentials."""
        return self._connect()

    @abstractmethod
    def _connect(self) -> Any: ...

    @abstractmethod
    def _sizes(self) -> Iterable[tuple[str, int]]:
        """Return the keys below the prefix, whole, with sizes, those of deeper levels left out; raise when there is no
        bucket.
        """

    @abstractmethod
    def _remove(self, key: str) -> None:
        """Remove an object; one that is not there is removed."""

    def sizes(self) -> dict[str, int | None]:
        found = self.within("listed", lambda: list(self._sizes()))
        return {name: size for key, size in found if (name := key.removeprefix(self._prefix))}

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
        self.within(f"rid of {name}", lambda: self._remove(self._prefix + name))

    def retract(self, name: str) -> None:
        """Leave it: `run` needs no right to remove anything, and without a manifest it says nothing. Try that one."""
        if name.endswith(MANIFEST):
            self.delete(name)

    def left_over(self) -> frozenset[str]:
        return frozenset()

    def remove_left_over(self) -> None:
        """Leave unfinished uploads to the store, or to the bucket's rules: `run` has no right to remove anything."""

    def _path(self, name: str) -> str:
        return f"{self._bucket}/{self._prefix}{name}"

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
