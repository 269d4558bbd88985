"""The files of a host without which a control plane does not come back, read in one request.

What is taken: Kubernetes' and the front proxy's CA, the keys of service accounts, the configuration of encryption at
rest, units and manifests; kubeadm's places, and whatever the flags of the API servers there name. Certificates and
keys of one host are not among them: these are issued anew.
"""

import re
from dataclasses import dataclass, field
from typing import Final

from etcdplan.hosts.ports import HostUnreachable
from etcdplan.hosts.remote.script import look, readable
from etcdplan.hosts.shell import Shell

LARGEST: Final = 1 << 20
IN_ALL: Final = 4 << 20
"""Bytes of one file, and of all of a host."""
_FILE: Final = re.compile(r"(\d+) ([0-7]{3,4}) ([\w.-]+:[\w.-]+) (/[^\0\n]+)")


@dataclass(frozen=True, slots=True)
class HostFile:
    """One file. `mode` is octal, `owner` are names (`root:root`)."""

    path: str
    mode: str
    owner: str
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Gathered:
    """What a host gave, and why something that was looked for is not among it, by path."""

    files: tuple[HostFile, ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()


def gather(shell: Shell, units: tuple[str, ...], *, timeout: float) -> Gathered:
    """Return the files of a host; `units` are those of etcd and of API servers with names of their own.

    Raises `HostUnreachable` whatever keeps the host from answering, the read-only role included.
    """
    answer = look(
        shell, ["gather"], "gather", str(LARGEST), str(IN_ALL), *units, timeout=timeout, limit=2 * IN_ALL
    )
    files, left_out = [], []
    for line, content in answer.parts:
        kind, _, rest = line.partition(" ")
        match = _FILE.fullmatch(rest) if kind == "file" else None
        if kind == "left" and rest.startswith("/"):
            left_out.append((readable(rest.encode()), readable(content)))
        elif match is None or ".." in match[4].split("/"):
            raise HostUnreachable(f"Host {shell.address} gave an answer that makes no sense.")
        elif len(content) != int(match[1]):
            left_out.append((match[4], "it changed while it was read"))
        else:
            files.append(HostFile(match[4], match[2].zfill(4), match[3], content))
    return Gathered(tuple(files), tuple(left_out))
