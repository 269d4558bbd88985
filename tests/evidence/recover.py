"""Majorities that are lost on real etcds of each version, and come back from a survivor; and one recovery killed often.

    python -m tests.evidence.recover matrix     each version, from a survivor that answers and from one that was killed
    python -m tests.evidence.recover chain      one recovery, killed with SIGKILL after each of its effects in turn

Prints the rows of docs/evidence/recover.md.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from etcdplan.lab.binaries import etcd_binaries
from tests.support.backups import with_backups
from tests.support.cli import Lab, killed

VERSIONS = ("3.4.23", "3.5.35", "3.6.16", "3.7.3")
KEYS = 30


def lost(lab: Lab, version: str, *, stopped: bool) -> tuple[Path, tuple[str | Path, ...]]:
    """Bring a lab to where two of three have lost their data; return its spec, and the options that open backups."""
    lab.up(3, version=version)
    for number in range(KEYS):
        assert lab.etcdctl("put", f"/registry/things/{number}", "{}", version=version).returncode == 0
    for member in ("member1", "member2"):
        lab.break_(member)
    if stopped:
        lab.break_("member3", "kill")
    spec = with_backups(lab.spec)
    return spec, ("--age-identity", lab.place.path / "identity", "--etcd-dir", etcd_binaries(version))


def hashes(lab: Lab, version: str) -> set[tuple[int, int]]:
    """Return what the members hold: HashKV with its revision."""
    found = set()
    for host in (1, 2, 3):
        said = json.loads(lab.etcdctl("endpoint", "hashkv", "-w", "json", host=host, version=version).stdout)
        found.add((said[0]["HashKV"]["hash"], said[0]["HashKV"]["header"]["revision"]))
    return found


def recovered(version: str, *, stopped: bool) -> str:
    """Recover one cluster; return a row."""
    with tempfile.TemporaryDirectory() as directory, Lab(Path(directory)) as lab:
        spec, opens = lost(lab, version, stopped=stopped)
        begun = time.monotonic()
        lab.run("recover", spec, "--auto-approve", *opens, timeout=600)
        took = time.monotonic() - begun
        backup = json.loads(lab.run("backup", "list", spec, "--json").out)["destinations"][0]["backups"][0]
        keys = lab.etcdctl("get", "/registry/things/", "--prefix", "--keys-only", version=version).stdout
        header = json.loads(lab.etcdctl("get", "x", "-w", "json", version=version).stdout)["header"]
        held = hashes(lab, version)
        assert len(held) == 1, held
        assert "matches the specification" in lab.run("plan", spec).out
        origin = backup["origin"]
        way = "was killed" if stopped else "answers"
        return (
            f"| {version} | {way} | {origin['kind']} | {origin['index']} of {origin['last']} | "
            f"{len(keys.split())} of {KEYS} | {header['revision']:,} | equal | {took:.0f} s |"
        )


def matrix() -> None:
    """Print a row for each version and way."""
    for version in VERSIONS:
        for stopped in (False, True):
            print(recovered(version, stopped=stopped), flush=True)


def chain() -> None:
    """Kill a recovery after its first effect, and each resumption after its own first, to the end."""
    with tempfile.TemporaryDirectory() as directory, Lab(Path(directory)) as lab:
        spec, opens = lost(lab, "3.6.16", stopped=True)
        boundary = {"ETCDPLAN_TEST_BUILD": "1", "ETCDPLAN_FAILPOINT": "effect:1:after"}
        opens = opens[:2]
        done = lab.run("recover", spec, "--auto-approve", *opens, env=boundary, expect=None, timeout=600)
        kills = 0
        while killed(done):
            kills += 1
            lab.new_runner()
            done = lab.run("apply", "--resume", spec, *opens, env=boundary, expect=None, timeout=600)
        assert done.code == 0, done
        held = hashes(lab, "3.6.16")
        assert len(held) == 1, held
        assert lab.etcdctl("get", "/registry/things/29", "--print-value-only").stdout == "{}\n"
        lab.settled(spec)
        print(
            f"{kills} kills, each after an effect; resumed from {kills} machines that knew nothing; settled."
        )


WAYS: dict[str, Callable[[], None]] = {"matrix": matrix, "chain": chain}

if __name__ == "__main__":
    WAYS[sys.argv[1]]()
