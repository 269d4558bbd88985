"""What a host keeps on disk of an etcd or an API server: the flags it is started with, and its program.

etcd's flags are all managed. An API server has a base file with the flags that are none of etcdplan's business; only
its `etcd-*` flags are managed, in a file beside it.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from etcdplan.hosts.files import read_if_there, write_atomically
from etcdplan.hosts.flags import above, as_arguments, below, flag_lines, parse_flags, render_flags
from etcdplan.hosts.ports import HostRefused
from etcdplan.model.state import ETCD, Settings

CONFIG = "etc/etcdplan"
PROGRAMS = "usr/local/bin"

_NAME = r"[a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?"
_API_SERVER = re.compile(rf"apiserver-({_NAME})\.(?:base|flags)")


@dataclass(frozen=True, slots=True)
class UnitFiles:
    """The files of one unit. `root` is the host's resolved root directory, `unit` a name of the model's."""

    root: Path
    unit: str

    def __post_init__(self) -> None:
        if self.unit != ETCD and not re.fullmatch(f"apiserver/{_NAME}", self.unit):
            raise HostRefused(f"There is no unit {self.unit!r} on any host.")

    @property
    def name(self) -> str:
        """The unit as a plain file name."""
        return self.unit.replace("/", "-")

    @property
    def is_etcd(self) -> bool:
        """Whether it is the host's etcd."""
        return self.unit == ETCD

    @property
    def program(self) -> Path:
        """The program to start."""
        return self.root / PROGRAMS / ("etcd" if self.is_etcd else "kube-apiserver")

    @property
    def installed(self) -> bool:
        """Whether an API server's own flags are there, without which none can be started."""
        return self._base.exists()

    @property
    def _flags(self) -> Path:
        return self.root / CONFIG / f"{self.name}.flags"

    @property
    def _base(self) -> Path:
        return self.root / CONFIG / f"{self.name}.base"

    def settings(self) -> Settings | None:
        """Return the managed settings on disk, None when there are none; raise `OSError` or `ValueError`."""
        content = read_if_there(self._flags)
        try:
            return None if content is None else parse_flags(flag_lines(content))
        except ValueError as error:
            raise ValueError(f"{self._flags} is not a list of flags: {error}") from error

    def write(self, settings: Settings) -> None:
        """Replace the managed settings; raise `HostRefused` for some that the file cannot hold."""
        try:
            if not self.is_etcd and (strange := [flag for flag in settings if not flag.startswith("etcd-")]):
                raise ValueError(f"--{strange[0]} is not about etcd")
            content = render_flags(settings)
        except ValueError as error:
            raise HostRefused(f"These settings of {self.unit} cannot be written: {error}.") from error
        write_atomically(self._flags, content)

    def argv(self) -> Sequence[str]:
        """Return the command to start: the base flags, then the managed ones, with paths of this machine.

        Raises `OSError` or `ValueError` when the files do not say it.
        """
        settings = self.settings()
        if settings is None:
            raise ValueError(f"{self.unit} has no settings")
        unmanaged = {} if self.is_etcd else self._base_flags()
        return [str(self.program), *as_arguments(below(str(self.root), {**unmanaged, **settings}))]

    def settings_of(self, argv: Sequence[str]) -> Settings:
        """Return the managed settings among a running process's arguments; raise `ValueError`."""
        running = above(str(self.root), _flags_of(argv))
        return {flag: value for flag, value in running.items() if self.is_etcd or flag.startswith("etcd-")}

    def listens(self) -> Iterator[tuple[str, int]]:
        """Yield the addresses and ports that the settings on disk let it listen on."""
        if self.is_etcd:
            settings = self.settings() or {}
            for flag in ("listen-peer-urls", "listen-client-urls", "listen-metrics-urls"):
                for url in filter(None, settings.get(flag, "").split(",")):
                    parts = urlsplit(url)
                    if parts.hostname and parts.port:
                        yield parts.hostname, parts.port
        else:
            yield _secure_address(self._base_flags())

    def serves_at(self, argv: Sequence[str]) -> tuple[str, int]:
        """Return address and port that a running API server with these arguments serves at; raise `ValueError`."""
        return _secure_address(_flags_of(argv))

    def data_dirs(self, default: str) -> tuple[Path, Path | None]:
        """Return etcd's data directory and, if it is elsewhere, that of its log, as the settings on disk have them.

        `default` is taken for the data directory when they do not. Raises `OSError` or `ValueError`.
        """
        settings = self.settings() or {}
        log = settings.get("wal-dir")
        return self._here(settings.get("data-dir", default)), self._here(log) if log else None

    def _here(self, path: str) -> Path:
        return Path(f"{self.root}{path}")

    def _base_flags(self) -> Settings:
        """Return the base flags, without any `etcd-*` that somebody wrote there: those are managed."""
        flags = parse_flags(flag_lines(self._base.read_bytes()))
        return {flag: value for flag, value in flags.items() if not flag.startswith("etcd-")}


def api_servers(root: Path) -> list[str]:
    """Return the names of the API servers that the host has; raise `OSError`."""
    try:
        entries = [entry.name for entry in (root / CONFIG).iterdir()]
    except FileNotFoundError:
        return []
    return sorted({match[1] for entry in entries if (match := _API_SERVER.fullmatch(entry))})


def _flags_of(argv: Sequence[str]) -> Settings:
    return parse_flags(argument for argument in argv[1:] if argument.startswith("-"))


def _secure_address(flags: Settings) -> tuple[str, int]:
    """Return where an API server with these flags serves (kube-apiserver's defaults); raise `ValueError`."""
    return flags.get("bind-address", "0.0.0.0"), int(flags.get("secure-port", "6443"))  # noqa: S104
