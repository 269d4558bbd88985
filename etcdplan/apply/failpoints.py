"""Places where a test can let apply die: around every effect, and in the middle of every journal line.

The executor always works through these wrappers. They pass on whatever a port has, so that a new effect cannot be
forgotten. A boundary is named `effect:<n>:before`, `effect:<n>:after` (it happened, its result is not journalled) or
`journal:<n>:torn` (half of a line is on one of the disks), where n counts effects, or lines on disks, from 1 in the
order in which they come.
"""

import os
import re
import signal
from collections.abc import Callable, Mapping
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Final, NoReturn, Protocol, cast

from etcdplan.apply.journal import Appends
from etcdplan.errors import UsageError
from etcdplan.hosts.ports import HostEffects, Hosts, HostStore, ManagedHost

_NAME: Final = re.compile(r"effect:[1-9]\d*:(before|after)|journal:[1-9]\d*:torn")

LastWords = Callable[[], object]
"""What still happens when the process dies at a boundary."""


class Killed(BaseException):
    """The simulated process died; no handler of ordinary errors may see it."""


class Failpoint(Protocol):
    """Decides at which boundary the process dies."""

    def hit(self, name: str, label: str, last_words: LastWords) -> None:
        """Return, or call `last_words` and do not return. `label` says what happens there, for people."""
        ...


class NoFailpoint:
    """Never dies."""

    def hit(self, name: str, label: str, last_words: LastWords) -> None:
        """Do nothing."""


class KillAt:
    """Raises `Killed` at one boundary: the one of that name, or the n-th that is hit (from 1)."""

    def __init__(self, at: str | int) -> None:
        self._at = at
        self.hits: Final[list[tuple[str, str]]] = []
        """Name and label of all boundaries that were hit."""

    def hit(self, name: str, label: str, last_words: LastWords) -> None:
        """Die when this is the one."""
        self.hits.append((name, label))
        if self._at in (name, len(self.hits)):
            last_words()
            raise Killed(name)


class KillProcess:
    """Logs every boundary to a file and kills this process with SIGKILL at one of them."""

    def __init__(self, at: str, log: Path | None) -> None:
        self._at = at
        self._log = log

    def hit(self, name: str, label: str, last_words: LastWords) -> None:
        """Die when this is the one."""
        if self._log is not None:
            with self._log.open("a") as log:
                log.write(f"{name} {label}\n")
        if name == self._at:
            last_words()
            _kill_this_process()


def from_environment(environ: Mapping[str, str] = os.environ) -> Failpoint:
    """Return what `ETCDPLAN_FAILPOINT` (a boundary) and `ETCDPLAN_FAILPOINT_LOG` (a file) ask for.

    Both do nothing unless `ETCDPLAN_TEST_BUILD` is 1. Raises `UsageError` when there is no such boundary.
    """
    at, log = environ.get("ETCDPLAN_FAILPOINT", ""), environ.get("ETCDPLAN_FAILPOINT_LOG", "")
    if environ.get("ETCDPLAN_TEST_BUILD") != "1" or not (at or log):
        return NoFailpoint()
    if at and not _NAME.fullmatch(at):
        raise UsageError(
            f"ETCDPLAN_FAILPOINT is {at!r}, which names no boundary.",
            hint="Write effect:7:before, effect:7:after or journal:7:torn.",
        )
    return KillProcess(at, Path(log) if log else None)


class Boundaries:
    """Numbers the boundaries of one run. After a simulated death nothing passes any more, not even cleaning up."""

    def __init__(self, failpoint: Failpoint) -> None:
        self._failpoint = failpoint
        self._death: Killed | None = None
        self.effects: Final = count(1)
        self.appends: Final = count(1)

    def hit(self, name: str, label: str, last_words: LastWords = lambda: None) -> None:
        """Pass a boundary, or die there."""
        self.check_alive()
        try:
            self._failpoint.hit(name, label, last_words)
        except Killed as death:
            self._death = death
            raise

    def check_alive(self) -> None:
        """Raise `Killed` again after it was raised once."""
        if self._death is not None:
            raise self._death


class _Port:
    """Passes everything on to a port while the process lives."""

    def __init__(self, port: object, boundaries: Boundaries, where: str) -> None:
        self._port = port
        self._boundaries = boundaries
        self._where = where

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._port, name)
        if not callable(value):
            return value

        def call(*args: object, **kwargs: object) -> object:
            self._boundaries.check_alive()
            return self._call(name, value, args, kwargs)

        return call

    def _call(
        self, name: str, method: Callable[..., object], args: tuple[object, ...], kwargs: dict[str, object]
    ) -> object:
        return method(*args, **kwargs)


class FailpointEffects(_Port):
    """Every method of a `HostEffects` is an effect: a boundary before it, and one after it, also when it failed."""

    def _call(
        self, name: str, method: Callable[..., object], args: tuple[object, ...], kwargs: dict[str, object]
    ) -> object:
        number = next(self._boundaries.effects)
        words = [word for word in args if isinstance(word, str)]
        label = " ".join([name, self._where, *words])
        self._boundaries.hit(f"effect:{number}:before", label)
        try:
            return method(*args, **kwargs)
        finally:
            self._boundaries.hit(f"effect:{number}:after", label)


class FailpointStore(_Port):
    """A `HostStore`, or the journal's files on the runner: every append can be cut in its middle."""

    _port: Appends

    def append(self, name: str, content: bytes) -> None:
        """Append, or only as much as ends in the middle of a line and die."""
        self._boundaries.check_alive()
        begins = 0
        for line in content.splitlines(keepends=True):
            part = content[: begins + len(line) // 2]
            self._boundaries.hit(
                f"journal:{next(self._boundaries.appends)}:torn",
                f"{name} {self._where}",
                partial(self._port.append, name, part),
            )
            begins += len(line)
        self._port.append(name, content)


class FailpointHost(_Port):
    """A host whose changing sides have failpoints."""

    _port: ManagedHost

    @property
    def store(self) -> HostStore:
        """The host's own directory."""
        return cast(HostStore, FailpointStore(self._port.store, self._boundaries, self._where))

    @property
    def effects(self) -> HostEffects:
        """What can be changed."""
        return cast(HostEffects, FailpointEffects(self._port.effects, self._boundaries, self._where))


class FailpointHosts:
    """Where hosts with failpoints come from."""

    def __init__(self, hosts: Hosts, boundaries: Boundaries) -> None:
        self._hosts = hosts
        self._boundaries = boundaries

    def host(self, address: str) -> ManagedHost:
        """Return the host with that address."""
        return cast(ManagedHost, FailpointHost(self._hosts.host(address), self._boundaries, address))


def _kill_this_process() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise SystemExit("SIGKILL did not end this process")
