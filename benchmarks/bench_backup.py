"""How fast a snapshot is saved, hashed and encrypted in one stream, beside etcdctl on the same member.

    PYTHONPATH=. .venv/bin/python benchmarks/bench_backup.py [--version 3.6.16] [--size 100] [--runs 5]

A member with SIZE MB of data on this disk. Wanted: 0.9 x `etcdctl snapshot save` with direct access, 0.5 x `etcdctl`
through `ssh -L` through the SSH tunnel (medians of the runs, taken in turn); 120 MB of memory at most; and the p99 of a
probe of 200 writes a second at most 1.2 x that during etcdctl's.
"""

import argparse
import json
import os
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from etcdplan.lab.binaries import etcd_binaries
from tests.support.etcd_process import EtcdCluster
from tests.support.sshd import Runner, Sshd

_VALUE = 1_000_000
_RATE = 200


def ours(url: str, place: str, config: str) -> dict[str, float]:
    """Take the snapshot as `backup run` does, to a directory; in a process of its own, for its memory."""
    from etcdplan.backup.age import encrypt
    from etcdplan.backup.directory import Directory
    from etcdplan.backup.snapshot import SnapshotReader
    from etcdplan.pki.keyfile import new_identity
    from etcdplan.transport.etcd import EtcdClient
    from etcdplan.transport.ssh import SshHosts
    from etcdplan.transport.ssh_config import SshSettings

    recipients = [new_identity()[1], new_identity()[1]]
    hosts = SshHosts(SshSettings(config_file=Path(config))) if config else None
    through = ""
    if hosts is not None:
        host, _, port = url.removeprefix("http://").rpartition(":")
        through = hosts.forward("h", host, int(port), timeout=10).target
    with EtcdClient(url, None, through=through) as client:
        client.status(timeout=10)
        began = time.perf_counter()
        with Directory(Path(place)).upload("snapshot") as upload:
            reader = SnapshotReader(client.snapshot(stall=60))
            encrypt(reader, upload, recipients)
            reader.finish()
            upload.finish()
        took = time.perf_counter() - began
    if hosts is not None:
        hosts.close()
    return {"seconds": took, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


class Bench:
    """One member with data, reached directly and through an sshd."""

    def __init__(self, version: str, directory: Path, url: str) -> None:
        self.etcdctl = etcd_binaries(version) / "etcdctl"
        self.directory, self.url = directory, url
        self.sshd = Sshd(directory / "sshd").start()
        runner = Runner(directory / "runner")
        runner.host("h", self.sshd)
        runner.trust(self.sshd.known())
        runner.settings()
        self.config = str(runner.directory / "config")

    def fill(self, megabytes: int) -> None:
        """Put so much into it."""
        import etcd3

        host, _, port = self.url.removeprefix("http://").rpartition(":")
        client = etcd3.client(host=host, port=int(port), timeout=60)
        for number in range(megabytes):
            client.put(f"/registry/fill/{number}", os.urandom(_VALUE))
        client.close()

    def save(self, url: str) -> float:
        """Return the seconds that etcdctl takes, its start included."""
        target = self.directory / "etcdctl.db"
        environment = {**os.environ, "ETCDCTL_API": "3"}
        words = [self.etcdctl, f"--endpoints={url}", "snapshot", "save", target]
        began = time.perf_counter()
        subprocess.run(words, check=True, capture_output=True, env=environment)
        took = time.perf_counter() - began
        target.unlink()
        return took

    def take(self, *, tunnel: bool = False) -> dict[str, float]:
        """Return what ours takes."""
        place = Path(tempfile.mkdtemp(dir=self.directory))
        words = [sys.executable, __file__, "--ours", self.url, str(place), self.config if tunnel else ""]
        try:
            done = subprocess.run(
                words,
                check=True,
                capture_output=True,
                text=True,
                env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
            )
        finally:
            shutil.rmtree(place)
        found: dict[str, float] = json.loads(done.stdout)
        return found

    @contextmanager
    def forwarded(self) -> Iterator[str]:
        """Forward the member by `ssh -L`."""
        host, _, port = self.url.removeprefix("http://").rpartition(":")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            near = free.getsockname()[1]
        ssh = subprocess.Popen(["ssh", "-F", self.config, "-N", "-L", f"127.0.0.1:{near}:{host}:{port}", "h"])
        try:
            while True:
                try:
                    socket.create_connection(("127.0.0.1", near), 1).close()
                    break
                except OSError:
                    time.sleep(0.05)
            yield f"http://127.0.0.1:{near}"
        finally:
            ssh.kill()
            ssh.wait()

    def probed(self, act: Callable[[], object]) -> float:
        """Return the p99, in ms, of writes at a fixed rate meanwhile; late ones count from their due time."""
        import etcd3

        host, _, port = self.url.removeprefix("http://").rpartition(":")
        ended, took = threading.Event(), []

        def write() -> None:
            client = etcd3.client(host=host, port=int(port), timeout=10)
            due = time.perf_counter()
            while not ended.is_set():
                due += 1 / _RATE
                time.sleep(max(due - time.perf_counter(), 0))
                client.put("/registry/probe", b"x" * 100)
                took.append(time.perf_counter() - due)
            client.close()

        thread = threading.Thread(target=write)
        thread.start()
        try:
            act()
        finally:
            ended.set()
            thread.join()
        return statistics.quantiles(took, n=100)[98] * 1000 if len(took) > 1 else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", default="3.6.16")
    parser.add_argument("--size", type=int, default=100, help="MB of data")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--ours", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.ours:
        print(json.dumps(ours(*options.ours)))
        return
    with tempfile.TemporaryDirectory() as home, EtcdCluster(options.version, 1, Path(home)) as etcd:
        bench = Bench(options.version, Path(home), etcd.leader().client_url)
        try:
            bench.fill(options.size)
            report(bench, options.runs)
        finally:
            bench.sshd.stop()


def report(bench: Bench, runs: int) -> None:
    direct, mine, tunnelled, through = [], [], [], []
    probes: dict[str, list[float]] = {"etcdctl": [], "etcdplan": []}
    peak = 0.0
    for _ in range(runs):
        direct.append(bench.save(bench.url))
        taken = bench.take()
        mine.append(taken["seconds"])
        with bench.forwarded() as url:
            through.append(bench.save(url))
        other = bench.take(tunnel=True)
        tunnelled.append(other["seconds"])
        peak = max(peak, taken["peak"], other["peak"])
        probes["etcdctl"].append(bench.probed(lambda: bench.save(bench.url)))
        probes["etcdplan"].append(bench.probed(bench.take))
    pairs = (("direct", direct, mine, 0.9), ("tunnel", through, tunnelled, 0.5))
    for name, theirs, own, wanted in pairs:
        there, here = statistics.median(theirs), statistics.median(own)
        print(
            f"{name}: etcdctl {there:.2f} s, etcdplan {here:.2f} s: {there / here:.2f} x (wanted {wanted} x)"
        )
    print(f"peak memory {peak:.0f} MiB (wanted 120 MB)")
    there, here = (statistics.median(probes[name]) for name in ("etcdctl", "etcdplan"))
    print(
        f"p99 of writes: etcdctl {there:.1f} ms, etcdplan {here:.1f} ms: {here / there:.2f} x (wanted 1.2 x)"
    )


if __name__ == "__main__":
    main()
