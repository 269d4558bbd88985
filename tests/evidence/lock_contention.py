"""A thousand attempts of competing processes to take one lock: how many had it, and whether two had it at once.

python -m tests.evidence.lock_contention [--attempts N] [--over-ssh N] [--processes N] [--seed N] [--out FILE]
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from etcdplan.hosts.skeleton import make_host
from tests.bed import DEPLOY, Bed
from tests.evidence.bench import header, write

WHAT = """\
Processes compete for the lock of three hosts: over SSH on hosts of the test bed (systemd-nspawn, real sshd, `sudo`),
and on this machine with the runtime `process`, whose hosts are directories. Each attempt is a new holder. Whoever has
the lock must be alone with a file that the kernel locks, beats, checks the lock, and changes one of the hosts with its
token; then it releases the lock or, one time in ten, kills itself with SIGKILL, and somebody must take over. All
processes are on one machine, so that a dead holder is known to be dead at once: that a silent one elsewhere is taken
over after 30 s, and that a frozen one changes nothing, is shown by `tests/hosts/test_lock_over_ssh.py`, not here. *lost
race*: somebody else wrote first; *held*: somebody else had it; *too few*: a majority was busy, or could not be had."""
_DEADLINE = 900.0


@dataclass
class Contest:
    """What came of the attempts at one place."""

    name: str
    counts: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def run(self, directory: Path, hosts: list[str], attempts: int, processes: int, seed: int) -> None:
        """Let processes compete, and replace those that killed themselves, until there were enough attempts."""
        began = time.monotonic()
        notes = directory / "attempts"
        notes.touch()
        running: list[subprocess.Popen[bytes]] = []
        started = 0
        try:
            while (made := self.made(notes)) < attempts:
                assert time.monotonic() - began < _DEADLINE, f"only {made} attempts"
                for process in [process for process in running if process.poll() is not None]:
                    running.remove(process)
                    if process.returncode not in (0, -9):
                        self.failures.append(f"- {self.name}: a process ended with {process.returncode}")
                while len(running) < processes:
                    command = [sys.executable, "-m", "tests.evidence.lock_contender", str(directory)]
                    running.append(
                        subprocess.Popen(
                            [*command, str(seed + started), str(attempts // processes + 1), *hosts]
                        )
                    )
                    started += 1
                time.sleep(0.2)
        finally:
            for process in running:
                process.kill()
                process.wait()
        self.seconds = time.monotonic() - began
        self.judge([json.loads(line) for line in notes.read_text().splitlines()])

    def made(self, notes: Path) -> int:
        """Count the attempts so far."""
        return sum("died with it" not in line for line in notes.read_text().splitlines())

    def judge(self, noted: list[dict[str, object]]) -> None:
        """Count, and look for what must not be."""
        tokens: list[int] = []
        for note in noted:
            outcome, token = str(note["outcome"]).partition(":")[0], int(str(note["token"]))
            self.counts[outcome] += 1
            if outcome == "double holder":
                self.failures.append(f"- {self.name}: {note}")
            if outcome == "held it":
                if tokens and token <= tokens[-1]:
                    self.failures.append(f"- {self.name}: token {token} came after {tokens[-1]}")
                tokens.append(token)
        if 20 * len(tokens) < len(noted):
            self.failures.append(f"- {self.name}: {len(tokens)} had the lock, which proves too little")

    def row(self) -> str:
        """Return the table's row."""
        counts = self.counts
        attempts = counts.total() - counts["died with it"]
        had = (
            counts["held it"],
            counts["died with it"],
            counts["lost race"],
            counts["held"],
            counts["too few"],
        )
        return (
            f"| {self.name} | {attempts} | {' | '.join(map(str, had))} | {counts['double holder']} |"
            f" {self.seconds:.0f} s |"
        )


def over_ssh(directory: Path, attempts: int, processes: int, seed: int) -> Contest:
    """Compete for three hosts of the bed."""
    contest = Contest("over SSH")
    directory.mkdir()
    with Bed(bare=3) as bed:
        (directory / "ssh_config").write_text(
            f"Host *\n User {DEPLOY}\n IdentityFile {bed.identity}\n IdentitiesOnly yes\n"
            f" UserKnownHostsFile {bed.known_hosts}\n"
        )
        contest.run(directory, [host.address for host in bed.hosts], attempts, processes, seed)
    return contest


def on_this_machine(directory: Path, attempts: int, processes: int, seed: int) -> Contest:
    """Compete for three directories."""
    contest = Contest("runtime `process`")
    hosts = ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
    (directory / "hosts").mkdir(parents=True)
    for host in hosts:
        make_host(directory / "hosts" / host)
    contest.run(directory, hosts, attempts, processes, seed)
    return contest


def main() -> None:
    """Compete until there are enough."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--attempts", type=int, default=1000)
    parser.add_argument("--over-ssh", type=int, default=200)
    parser.add_argument("--processes", type=int, default=5)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--out", type=Path, default=Path("docs/evidence/lock.md"))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        remote = over_ssh(Path(directory) / "ssh", given.over_ssh, given.processes, given.seed)
        rest = max(0, given.attempts - given.over_ssh)
        local = on_this_machine(Path(directory) / "local", rest, given.processes, given.seed)
    table = [
        "| hosts | attempts | had the lock | died with it | lost race | held | too few | two at once | took |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
        remote.row(),
        local.row(),
    ]
    command = (
        f"python -m tests.evidence.lock_contention --attempts {given.attempts} --over-ssh {given.over_ssh}"
        f" --processes {given.processes} --seed {given.seed}"
    )
    failures = "\n".join([*remote.failures, *local.failures]) or "None."
    text = header("The lock, contended for", command, WHAT) + "\n".join(table)
    write(given.out, f"{text}\n\n## Failures\n\n{failures}\n")
    sys.exit(failures != "None.")


if __name__ == "__main__":
    main()
