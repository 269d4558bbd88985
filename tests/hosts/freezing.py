"""etcdplan, which freezes (SIGSTOP) just before it calls METHOD of an etcd: the host has let that call through.

After so long gRPC's own timers end its connection to etcd, if they come first. The worst is that they do not, or that
the request had left gRPC already: the call is made when etcd was reached again through the same tunnel, if it can be.

python -m tests.hosts.freezing METHOD ARGUMENT...
"""

import os
import signal
import sys
import time
from contextlib import suppress
from typing import Any

from etcdplan.__main__ import main
from etcdplan.apply.heartbeat import Heartbeat
from etcdplan.transport.errors import EtcdUnreachable
from etcdplan.transport.etcd import EtcdClient


def freeze_before(method: str) -> None:
    """Stop all threads of this process before the first call; it goes on where it was."""
    call = getattr(EtcdClient, method)
    # A heartbeat that was under way would be too late afterwards, and end the connection: no thread to rely on.
    Heartbeat._run = lambda _: None  # type: ignore[method-assign]

    def frozen(*args: Any, **kwargs: Any) -> Any:
        setattr(EtcdClient, method, call)
        os.kill(os.getpid(), signal.SIGSTOP)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with suppress(EtcdUnreachable):
                args[0].status(timeout=1)
                break
            time.sleep(0.1)
        return call(*args, **kwargs)

    setattr(EtcdClient, method, frozen)


if __name__ == "__main__":
    freeze_before(sys.argv.pop(1))
    sys.exit(main())
