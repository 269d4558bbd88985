"""How long `plan` takes for 5 members and 3 API servers on 8 systemd hosts over SSH, beside `ansible -m setup`.

    sudo .venv/bin/python -m benchmarks.bench_hosts [ANSIBLE]

Figures wanted, as whole processes: `plan` 1.0 s and 0.25 x ansible's; linear in hosts; 4 s with a host that drops
packets, 10 s without quorum; bootstrap 60 s.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.support.fleet import Fleet
from tests.support.kubernetes import UNIT, ControlPlane

RUNS = 7


def seconds(run: Callable[[], object], runs: int = RUNS) -> str:
    """Return the median and the maximum."""
    taken = []
    for _ in range(runs):
        began = time.perf_counter()
        run()
        taken.append(time.perf_counter() - began)
    return f"{statistics.median(taken):6.2f} {max(taken):6.2f}"


def ansible(fleet: Fleet, program: str, hosts: int) -> None:
    """Gather facts of all hosts, in one go."""
    inventory = fleet.directory / "inventory"
    inventory.write_text("".join(f"{fleet.host(n).address}\n" for n in range(1, hosts + 1)))
    subprocess.run(
        [
            program,
            "all",
            "-i",
            str(inventory),
            "-m",
            "setup",
            "-f",
            str(hosts),
            "-u",
            fleet.user,
            "--private-key",
            str(fleet.bed.identity),
            "--become",
            f"--ssh-common-args=-o UserKnownHostsFile={fleet.bed.known_hosts}",
        ],
        stdout=subprocess.DEVNULL,
        check=True,
    )


def main() -> None:
    """Measure and print a table."""
    with tempfile.TemporaryDirectory() as directory, Fleet.up(Path(directory), 8) as fleet:

        def spec(members: int, servers: int) -> None:
            fleet.write_spec(range(1, members + 1))
            if servers:
                with fleet.spec.open("a") as text:
                    text.write(f"  apiServers:\n    instances:\n{planes[servers].instances()}")

        planes = {3: ControlPlane(fleet.directory, {f"cp{n}": (fleet.host(5 + n), UNIT) for n in (1, 2, 3)})}
        spec(5, 3)
        print(f"{'':44} median    max")
        print(f"{'bootstrap of 5 + 3':44} {seconds(fleet.apply, 1)}", flush=True)
        for members, servers in ((1, 0), (3, 0), (5, 0), (5, 3)):
            spec(members, servers)
            print(
                f"{f'plan, {members} + {servers}':44} {seconds(lambda: fleet.run('plan', fleet.spec, expect=None))}"
            )
        print(f"{'status, 5 + 3':44} {seconds(lambda: fleet.run('status', fleet.spec))}", flush=True)
        if len(sys.argv) > 1:
            print(
                f"{'ansible -m setup, 8 hosts':44} {seconds(lambda: ansible(fleet, sys.argv[1], 8))}",
                flush=True,
            )
        fleet.host(5).cut_network()
        print(
            f"{'plan, one host drops packets':44} {seconds(lambda: fleet.run('plan', fleet.spec, expect=None))}"
        )
        for number in (3, 4):
            fleet.host(number).cut_network()
        print(f"{'plan, no quorum':44} {seconds(lambda: fleet.run('plan', fleet.spec, expect=None))}")


if __name__ == "__main__":
    main()
