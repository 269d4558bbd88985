"""etcdplan, which freezes (SIGSTOP) just before it calls METHOD of an etcd: the host has let that call through.

python -m tests.hosts.freezing METHOD ARGUMENT...
"""

import os
import signal
import sys
from typing import Any

from etcdplan.__main__ import main
from etcdplan.transport.etcd import EtcdClient


def freeze_before(method: str) -> None:
    """Stop all threads of this process before the first call; it goes on where it was."""
    call = getattr(EtcdClient, method)

    def frozen(*args: Any, **kwargs: Any) -> Any:
        setattr(EtcdClient, method, call)
        os.kill(os.getpid(), signal.SIGSTOP)
        return call(*args, **kwargs)

    setattr(EtcdClient, method, frozen)


if __name__ == "__main__":
    freeze_before(sys.argv.pop(1))
    sys.exit(main())
