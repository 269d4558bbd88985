"""A hundred SIGKILLs of apply at random times, each run finished by `apply --resume`, and the same judgement.

python -m tests.evidence.random_kills [--kills N] [--seed N] [--out FILE]
"""

import argparse
import random
import signal
import subprocess
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

from etcdplan.errors import EtcdplanError
from tests.evidence.bench import SCENARIOS, Bench, header, write
from tests.support.cli import Lab, killed
from tests.support.crashes import Crashes, before, check_declared, newest_run

WHAT = """\
`apply`, or `apply --resume`, on real etcd processes with TLS is killed with SIGKILL at a random moment of its life;
about every second resumption is killed, too. Each resumption is on a machine with none of the former one's files. The
judgement in the end is that of the [crash matrix](crash-matrix.md), but for effects that were themselves cut: whether
such a one happened is not known, so it may be claimed a second time. *Between stages*: what was seen right after the
kill was none of the states that the step declares, since an effect was cut in its middle; this is told, and is no
failure if the end is right."""


class Killer:
    """Kills applies of a bench at random times, and counts."""

    def __init__(self, bench: Bench, random: random.Random) -> None:
        self.bench = bench
        self.random = random
        self.lasts: dict[str, float] = {}
        self.kills: Counter[str] = Counter()
        self.too_late: Counter[str] = Counter()
        self.between: Counter[str] = Counter()
        self.runs: Counter[str] = Counter()
        self.failures: list[str] = []

    def measure(self, scenario: str) -> None:
        """Run a scenario undisturbed, to compare with and to know how long it takes."""
        began = time.monotonic()
        self.bench.run_undisturbed(scenario)
        self.lasts[scenario] = time.monotonic() - began

    def once(self, scenario: str) -> None:
        """Kill one run, maybe more than once, and judge its end."""
        said = ""
        try:
            with self.bench.judged(scenario, cut=True) as crashes:
                if self.kill(scenario, crashes) and self.random.random() < 0.5:
                    self.kill(scenario, crashes)
                crashes.finish()
        except (AssertionError, EtcdplanError) as error:
            said = str(error)
            self.failures.append(f"- {scenario}, run {self.runs[scenario]}: {said}")
            self.bench.renew(scenario)
        self.runs[scenario] += 1
        print(f"{scenario}: {said or 'ok'}, {self.kills.total()} kills", flush=True)

    def kill(self, scenario: str, crashes: Crashes) -> bool:
        """Begin or resume, and kill after a while; return whether it still ran."""
        lab = crashes.lab
        with lab.live(crashes.spec) as live:
            was = before(live)
            known = newest_run(live)
        lab.new_runner()
        resumes = known is not None and not known.ended
        command = lab.start("apply", crashes.spec, "--resume" if resumes else "--auto-approve")
        with suppress(subprocess.TimeoutExpired):
            command.process.wait(self.random.uniform(0.2, self.lasts[scenario]))
        command.process.send_signal(signal.SIGKILL)
        done = command.end(expect=None)
        if not killed(done):
            assert done.code == 0, done
            self.too_late[scenario] += 1
            return False
        self.kills[scenario] += 1
        try:
            check_declared(lab, crashes.spec, was)
        except AssertionError as undeclared:
            self.between[scenario] += 1
            print(undeclared, flush=True)
        return True

    def table(self) -> str:
        """Return what came of it."""
        lines = [
            "| scenario | runs | kills | ended before the kill | between stages | failed |",
            "|---|---:|---:|---:|---:|---:|",
        ]
        for name in SCENARIOS:
            failed = sum(line.startswith(f"- {name},") for line in self.failures)
            counts = self.runs, self.kills, self.too_late, self.between
            lines.append(f"| {name} | {' | '.join(str(count[name]) for count in counts)} | {failed} |")
        return "\n".join(lines)


def main() -> None:
    """Kill until there are enough."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--out", type=Path, default=Path("docs/evidence/random-kills.md"))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, Lab(Path(directory)) as lab:
        killer = Killer(Bench(lab), random.Random(given.seed))
        for scenario in SCENARIOS:
            killer.measure(scenario)
        while killer.kills.total() < given.kills:
            for scenario in SCENARIOS:
                killer.once(scenario)
    command = f"python -m tests.evidence.random_kills --kills {given.kills} --seed {given.seed}"
    text = header("Random kills", command, WHAT) + killer.table()
    write(given.out, f"{text}\n\n## Failures\n\n{chr(10).join(killer.failures) or 'None.'}\n")


if __name__ == "__main__":
    main()
