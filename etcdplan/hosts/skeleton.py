"""The directories of a host that is itself a directory."""

from pathlib import Path

from etcdplan.hosts.files import make_directory

_DIRECTORIES = (
    "etc",
    "etc/etcdplan",
    "etc/etcdplan/pki",
    "run",
    "run/etcdplan",
    "usr",
    "usr/local",
    "usr/local/bin",
    "var",
    "var/lib",
    "var/lib/etcdplan",
    "var/log",
)


def make_host(root: Path) -> None:
    """Make a host's root directory and what is expected in it, for its owner alone; raise `OSError`."""
    make_directory(root)
    for directory in _DIRECTORIES:
        make_directory(root / directory)
