"""File systems of a systemd host that stand still for a moment; a service there thaws them, whoever has gone.

A freeze ends with the host's power, so that the service need not outlive that.
"""

import base64
from importlib.resources import files

from etcdplan.hosts.ports import Claim
from etcdplan.hosts.remote.once import Effects


def freeze(effects: Effects, claim: Claim, seconds: int, data: str, log: str) -> tuple[str, ...]:
    """Freeze what the data and a log that is elsewhere are on, for so many seconds at most; return the mount points."""
    keeper = (files("etcdplan.hosts.remote") / "keep_frozen.sh").read_bytes()
    words = str(seconds), base64.b64encode(keeper).decode(), data, log
    reply = effects.do(
        claim, "freeze", "freeze the file systems of etcd's data", *words, script="freeze", work=seconds
    )
    return tuple(reply.decode().split())


def thaw(effects: Effects, claim: Claim) -> None:
    """Thaw them."""
    effects.do(claim, "thaw", "thaw the file systems of etcd's data", script="freeze")
