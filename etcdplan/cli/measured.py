"""`--metrics FILE` of the backup commands: written when a command ends, however it ends."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Annotated

import typer

from etcdplan.backup.errors import DestinationError
from etcdplan.cli.output import progress
from etcdplan.errors import EtcdplanError

Metrics = Annotated[
    Path | None,
    typer.Option(
        "--metrics",
        metavar="FILE",
        help="Write metrics for Prometheus' node exporter (textfile collector) there; its name ends in .prom.",
    ),
]


@dataclass
class Measured:
    """A command of a spec's backups, from its beginning to its end; without a file nothing is written.

    A spec that cannot be read leaves the file as it was: nobody knows what cluster it would be about.
    """

    command: str
    spec: Path
    file: Path | None
    failed: list[str] = field(default_factory=list)
    """The destinations that it failed at, as they call themselves."""
    _code: int = 1
    _began: float = field(default_factory=time.time)

    def end(self, code: int) -> int:
        """Note the exit code, and return it."""
        self._code = code
        return code

    def __enter__(self) -> "Measured":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.file is None:
            return
        try:
            self._write(self.file, everywhere=isinstance(error, DestinationError))
        except EtcdplanError as failure:
            if error is None:
                raise
            progress(f"Error: {failure.message}")

    def _write(self, file: Path, *, everywhere: bool) -> None:
        from etcdplan.cli.backup import policy_of
        from etcdplan.cli.destinations import PATIENCE, destination, watch
        from etcdplan.cli.files import write_file
        from etcdplan.render.metrics import CommandEnd, metrics_text
        from etcdplan.spec.load import load_spec

        loaded = load_spec(self.spec)
        policy = policy_of(loaded)
        ended = time.time()
        stores = watch(loaded, policy).begin(PATIENCE, glance=False)()
        failed = set()
        for place in policy.destinations:
            try:
                own = str(destination(loaded, place))
            except EtcdplanError:
                own = place
            if everywhere or own in self.failed:
                failed.add(place)
        end = CommandEnd(self.command, self._code == 0, self._began, ended, failed)
        write_file(file, metrics_text(loaded.spec.metadata.name, stores, end).encode(), mode=0o644)
