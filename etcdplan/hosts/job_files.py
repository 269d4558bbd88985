"""What is sent to a host that shall take backups by itself."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class PackedProgram:
    """etcdplan as this machine has it: a `.tar.gz`, the Python that it needs there, and its version."""

    archive: bytes = field(repr=False)
    python: str
    version: str


@dataclass(frozen=True, slots=True)
class BackupJobFiles:
    """A job: the directory of its etcdplan, texts by path, and what it must be able to write to."""

    program: str
    files: Mapping[str, str]
    directories: tuple[str, ...]
