"""An etcd that nobody else reaches: on sockets in a directory of mode 0700 and on no port; a cluster of one."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from etcdplan.backup.errors import BackupError
from etcdplan.backup.etcd_tools import EtcdTools, environment, last_words
from etcdplan.hosts.processes import wait_until
from etcdplan.transport.errors import EtcdRejected, EtcdUnreachable
from etcdplan.transport.etcd import EtcdClient

PEER: Final = "http://127.0.0.1:2380"
"""An advertised address; nothing listens there, and a cluster of one dials nobody."""
_SOCKET: Final = "client:1"
"""etcd wants something like a port in the name of a socket."""
_START_PATIENCE: Final = 120
_STOP_PATIENCE: Final = 20
# Whoever starts it holds the other end of its standard input and never writes: that ends when the holder does, however
# it ends. As long as the one who waits for that is a child of the etcd, its number is no other process's.
_WITH_ITS_STARTER: Final = """
exec 3<&0 </dev/null
(
    trap '' HUP INT TERM
    read -r _ <&3
    read -r stat </proc/self/stat
    set -f
    set -- ${stat##*") "}
    if [ "$2" = $$ ]; then kill -9 $$; fi
) >/dev/null 2>&1 &
exec "$@" 3<&-
"""


@contextmanager
def isolated_etcd(
    tools: EtcdTools, data: Path, scratch: Path, *, name: str, token: str, force_new_cluster: bool = False
) -> Iterator[EtcdClient]:
    """Run an etcd on a data directory until the context is left, or this process ends; gives a client when it serves.

    `scratch` is a directory of mode 0700 for its sockets and its log. Raises `BackupError` when it does not come up.
    """
    with (scratch / "log").open("wb") as log:
        etcd = subprocess.Popen(
            [
                *("/bin/sh", "-c", _WITH_ITS_STARTER, "sh"),
                tools.etcd,
                f"--name={name}",
                f"--data-dir={data}",
                f"--listen-client-urls=unix://{_SOCKET}",
                "--advertise-client-urls=http://127.0.0.1:2379",
                "--listen-peer-urls=unix://peer:1",
                f"--initial-advertise-peer-urls={PEER}",
                f"--initial-cluster={name}={PEER}",
                f"--initial-cluster-token={token}",
                *(["--force-new-cluster"] if force_new_cluster else []),
            ],
            cwd=scratch,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
        )
    try:
        with EtcdClient("http://127.0.0.1:1", None, through=f"unix:{scratch}/{_SOCKET}") as client:
            _await(client, etcd, scratch / "log")
            yield client
    finally:
        _stop(etcd)


def _await(client: EtcdClient, etcd: subprocess.Popen[bytes], log: Path) -> None:
    def serves() -> bool:
        try:
            client.linearizable_read(timeout=1.0)
        except (EtcdUnreachable, EtcdRejected):
            return False
        return True

    if (
        wait_until(lambda: serves() or etcd.poll() is not None, timeout=_START_PATIENCE)
        and etcd.poll() is None
    ):
        return
    words = last_words(log.read_text(errors="replace"))
    raise BackupError(f"An etcd with the restored data does not come up: {words}.")


def _stop(etcd: subprocess.Popen[bytes]) -> None:
    etcd.terminate()
    try:
        etcd.wait(_STOP_PATIENCE)
    except subprocess.TimeoutExpired:
        etcd.kill()
        etcd.wait()
    finally:
        if etcd.stdin is not None:
            etcd.stdin.close()
