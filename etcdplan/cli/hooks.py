"""The runner's configuration, and the hooks that it defines: commands that a spec may name, and never contain."""

import os
import signal
import stat
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from etcdplan.errors import EtcdplanError, RefusedError, StoppedError
from etcdplan.spec.document import read_document
from etcdplan.spec.models import Name
from etcdplan.spec.problems import SpecInvalid
from etcdplan.spec.units import DOCUMENT, DurationMs

CONFIG_VARIABLE = "ETCDPLAN_CONFIG"
LONGEST = 150_000
"""Milliseconds that a hook may take at most: the step that it belongs to has 180 s."""
_STDERR = 2
_RESUME = "Mend it, then go on with: etcdplan apply --resume SPEC. It runs again with the same words."


class ConfigError(EtcdplanError):
    """The runner's configuration cannot be used."""


class Hook(BaseModel):
    """A command, as words, and how long it may take, in milliseconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    command: Annotated[tuple[str, ...], Field(min_length=1)]
    timeout: Annotated[DurationMs, Field(le=LONGEST)] = 60_000


class _Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    hooks: dict[Name, Hook] = {}


@dataclass(frozen=True, slots=True)
class Hooks:
    """The hooks of this runner, by name; `file` is where they are defined, or would be."""

    file: Path
    by_name: Mapping[str, Hook]

    @classmethod
    def here(cls, environ: Mapping[str, str] = os.environ) -> "Hooks":
        """Read the runner's configuration, if there is one; raise `ConfigError`."""
        home = Path(environ.get("XDG_CONFIG_HOME", ""))
        base = home if home.is_absolute() else Path("~/.config").expanduser()
        given = environ.get(CONFIG_VARIABLE)
        file = Path(given) if given else base / "etcdplan" / "config.yaml"
        if not given and not file.exists():
            return cls(file, {})
        return cls(file, _read(file).hooks)

    def require(self, name: str, by: str = "The spec (apiServers.drain) names") -> Hook:
        """Return a hook; raise `RefusedError` for one that is not defined."""
        if name not in self.by_name:
            raise RefusedError(
                f"{by} the hook {name!r}, and this runner does not define it.",
                hint=f"Define it in {self.file}, as a spec cannot: hooks: {{{name}: {{command: [/path/to/it]}}}}.",
            )
        return self.by_name[name]

    def run(self, name: str, *words: str, hint: str = _RESUME) -> None:
        """Run a hook to its end, with some words behind its own: for an API server its name and what to do.

        It gets no input, and what it prints goes to standard error. Raises `StoppedError` with that hint when it fails
        or takes too long; then it is killed, with all that it has started.
        """
        hook = self.require(name)

        def failed(how: str) -> StoppedError:
            return StoppedError(f"The hook {name} ({' '.join(words)}) {how}.", hint=hint)

        try:
            # A session of its own: a Ctrl-C stops etcdplan, at a checkpoint, and nothing half-way.
            process = subprocess.Popen(
                [*hook.command, *words],
                stdin=subprocess.DEVNULL,
                stdout=_STDERR,
                stderr=_STDERR,
                start_new_session=True,
            )
        except OSError as error:
            raise failed(f"cannot be run: {error.strerror}") from error
        try:
            status = process.wait(hook.timeout / 1000)
        except subprocess.TimeoutExpired:
            raise failed(f"took longer than {hook.timeout / 1000:g} s") from None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if status != 0:
            raise failed(f"ended with status {status}")


def _read(file: Path) -> _Config:
    try:
        mode = file.stat()
    except OSError as error:
        raise ConfigError(f"The configuration {file} cannot be read: {error.strerror}.") from error
    if mode.st_mode & (stat.S_IWGRP | stat.S_IWOTH) or mode.st_uid not in (0, os.geteuid()):
        raise ConfigError(
            f"The configuration {file} names commands, and others than you may write it.",
            hint=f"chown it to yourself, and chmod go-w {file}.",
        )
    try:
        return _Config.model_validate(read_document(file).value, context=DOCUMENT)
    except SpecInvalid as error:
        raise ConfigError(error.message, hint=error.hint) from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "its top"
        raise ConfigError(f"The configuration {file} is wrong at {place}: {first['msg']}.") from error
