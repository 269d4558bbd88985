"""What an etcd has on the disk of a systemd host, read piece by piece over the shell."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from etcdplan.hosts.data_copy import (
    PIECE,
    StoppedData,
    changed,
    is_data_file,
    no_database,
    running,
    unreadable,
)
from etcdplan.hosts.remote.inspect import inspect
from etcdplan.hosts.remote.layout import Layout
from etcdplan.hosts.remote.report import data_dirs
from etcdplan.hosts.remote.script import Answer, look
from etcdplan.hosts.remote.unit_settings import on_disk
from etcdplan.hosts.remote.view import View
from etcdplan.hosts.shell import Shell

_LOOK = 15.0
_SEGMENT = 60.0
_PIECE = 120.0
_ROOM = 1 << 20
"""Bytes of an answer besides what was asked for."""
_LONGEST = 1 << 30
"""Bytes of a segment at most: etcd begins a new one at 64 MB, but a single entry may be long."""
_LINE = re.compile(r"((?:snap|wal)/\S+) (\d+) \d+ .+")


@dataclass(frozen=True, slots=True)
class RemoteData:
    """Implements `DataOnHost`."""

    shell: Shell
    layout: Layout

    def _places(self) -> tuple[str, str]:
        def places(view: View) -> tuple[str, str]:
            service = view.service(self.layout.etcd_unit)
            return data_dirs(on_disk(service, etcd=True) if service else {}, self.layout)

        return inspect(self.shell, self.layout, places, timeout=_LOOK)[0]

    def newest_segment(self) -> tuple[str, bytes] | None:
        """Return name and content of the newest segment of the log."""
        answer = look(self.shell, ["data"], "segment", *self._places(), timeout=_SEGMENT, limit=_LONGEST)
        self._check(answer)
        for line, content in answer.parts:
            kind, _, name = line.partition(" ")
            if kind == "segment":
                return name, content
        return None

    @contextmanager
    def stopped(self) -> Iterator[StoppedData]:
        """Give the files; each piece is read under the lock that etcd takes, and at the end all are still the same."""
        places = self._places()
        before = self._listed(places)
        yield _RemoteFiles(self, places, _sizes(before))
        if self._listed(places) != before:
            raise changed(self.shell.address)

    def _listed(self, places: tuple[str, str]) -> str:
        answer = look(self.shell, ["data"], "stopped", *places, timeout=_LOOK, limit=_ROOM)
        if answer.result == "absent":
            raise no_database(self.shell.address)
        self._check(answer)
        return answer.content.decode(errors="replace")

    def read(self, places: tuple[str, str], name: str, offset: int) -> bytes:
        """Return a piece of a file."""
        asked = (*places, name, str(offset), str(PIECE))
        answer = look(self.shell, ["data"], "piece", *asked, timeout=_PIECE, limit=PIECE + _ROOM)
        if answer.result == "absent":
            raise no_database(self.shell.address)
        self._check(answer)
        return dict(answer.parts).get("piece", b"")

    def _check(self, answer: Answer) -> None:
        if answer.result == "busy":
            raise running(self.shell.address)
        if answer.result not in ("absent", "looked", "content"):
            raise unreadable(self.shell.address, answer.text)


def _sizes(listed: str) -> Mapping[str, int]:
    found = (_LINE.fullmatch(line) for line in listed.split("\n"))
    return {match[1]: int(match[2]) for match in found if match and is_data_file(match[1].partition("/")[2])}


@dataclass(frozen=True, slots=True)
class _RemoteFiles:
    """Implements `StoppedData`."""

    data: RemoteData
    places: tuple[str, str]
    files: Mapping[str, int]

    def read(self, name: str, offset: int) -> bytes:
        """Return at most `PIECE` bytes from there."""
        return self.data.read(self.places, name, offset)
