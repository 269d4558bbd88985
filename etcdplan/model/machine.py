"""What a host offers its etcd: clock, disks, memory, ports, and how fast its etcd writes.

Nothing is decided by it: the plan says where it falls short. A fact is absent where it does not apply, such as the
figures of an etcd that does not run, and unknown where it could not be seen.
"""

from dataclasses import dataclass

from etcdplan.model.facts import ABSENT, Fact

ANY_ADDRESS = "*"
"""Stands for all addresses of a host in `Machine.listening`."""


@dataclass(frozen=True, slots=True)
class Volume:
    """The file system that a directory is on, or will be: bytes, and its kind by its name (`ext2/ext3`, `tmpfs`).

    `file_system` is empty where nobody said; `spins` None where the kernel does not tell.
    """

    directory: str
    free: int
    size: int
    file_system: str = ""
    spins: bool | None = None


@dataclass(frozen=True, slots=True)
class Figures:
    """What a running etcd has measured since its start, in bytes and seconds; None while there are too few values.

    `fsync` and `commit` are the 99th percentiles of writing to the log and to the database, `round_trip` the longest
    average way to another member and back.
    """

    database: int
    fsync: float | None
    commit: float | None
    round_trip: float | None


@dataclass(frozen=True, slots=True)
class Machine:
    """A host beneath its etcd. Memory is in bytes; `log` is absent where the log is beside the data.

    `clock_ahead` is by how many seconds at least the host's clock differs from the controller's, negative when it is
    behind, 0 when the difference is within what asking took. `listening` are the addresses and TCP ports taken.
    """

    clock_ahead: Fact[float] = ABSENT
    memory: Fact[int] = ABSENT
    processors: Fact[int] = ABSENT
    data: Fact[Volume] = ABSENT
    log: Fact[Volume] = ABSENT
    listening: Fact[tuple[tuple[str, int], ...]] = ABSENT
    figures: Fact[Figures] = ABSENT


UNMEASURED = Machine()
