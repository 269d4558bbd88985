"""How long the full verification of a backup takes, trial restore included, and what memory it needs.

    .venv/bin/python -m benchmarks.bench_verify [--version 3.6.16] [--size 1024]

A lab of one member with SIZE MB of data; `backup run` without a trial, then `backup verify`: read back from the
destination, decrypted, hashed, restored, served by an isolated etcd, compared. Wanted: 60 s at 1 GiB, and 120 MB of
memory (etcd's own processes apart). Beside it, what a user would do by hand: `etcdutl snapshot status` and `restore`.
"""

import argparse
import os
import resource
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import yaml

from etcdplan.lab.binaries import etcd_binaries
from tests.support.backups import with_backups
from tests.support.cli import Lab

_VALUE = 1_000_000


def timed(act: Callable[[], object]) -> float:
    """Return the seconds that something takes."""
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def fill(lab: Lab, binaries: Path, megabytes: int) -> None:
    """Put so much into the lab's member."""
    pki = lab.place.pki
    trust = [f"--cacert={pki}/etcd-ca.crt", f"--cert={pki}/operator.crt", f"--key={pki}/operator.key"]
    for number in range(megabytes):
        value = os.urandom(_VALUE // 2).hex().encode()
        put = ["put", f"/registry/fill/{number}"]
        endpoint = f"--endpoints=https://{lab.address(1)}:2379"
        subprocess.run(
            [binaries / "etcdctl", endpoint, *trust, *put], input=value, check=True, stdout=subprocess.DEVNULL
        )


def measure(version: str, megabytes: int, home: Path) -> None:
    """Take a backup of that much, and verify it."""
    binaries = etcd_binaries(version)
    with Lab(home) as lab:
        lab.up(1, version=version)
        fill(lab, binaries, megabytes)
        spec = with_backups(lab.spec)
        document = yaml.safe_load(spec.read_text())
        document["spec"]["backup"] |= {"destinations": ["backups"], "verify": "checksum"}
        spec.write_text(yaml.safe_dump(document))
        place = lab.place.path
        opens = ("--age-identity", place / "identity", "--etcd-dir", binaries)
        print(f"{megabytes} MB of etcd {version}; load average {os.getloadavg()[0]:.1f}", flush=True)
        took = timed(lambda: lab.run("backup", "run", spec, *opens, timeout=900))
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        print(f"backup run: {took:.1f} s, peak memory of a process {peak:.0f} MiB", flush=True)
        took = timed(lambda: lab.run("backup", "verify", spec, *opens, timeout=900))
        print(f"backup verify, trial restore included: {took:.1f} s", flush=True)
        name = next((place / "backups").glob("*.age"))
        plain = place / "plain.db"
        with plain.open("wb") as file:
            subprocess.run(["age", "-d", "-i", place / "identity", name], stdout=file, check=True)
        tool = binaries / ("etcdctl" if version.startswith("3.4.") else "etcdutl")
        environment = {**os.environ, "ETCDCTL_API": "3"}
        by_hand = (["status", plain], ["restore", plain, "--data-dir", place / "by-hand"])
        took = sum(
            timed(partial(subprocess.run, [tool, "snapshot", *words], check=True, env=environment))
            for words in by_hand
        )
        print(f"etcdutl snapshot status and restore of the decrypted file: {took:.1f} s")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", default="3.6.16")
    parser.add_argument("--size", type=int, default=1024, help="MB of data")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        measure(options.version, options.size, Path(home))


if __name__ == "__main__":
    main()
