"""How long `plan` takes for 5 members and 3 API servers on 8 systemd hosts over SSH, beside `ansible -m setup`.

    sudo .venv/bin/python -m benchmarks.bench_hosts [--without-ansible]

Figures wanted, as whole processes: `plan` 1.0 s and 0.25 x ansible's; linear in hosts; 4 s with a host that drops
packets, 10 s without quorum; bootstrap 60 s.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.ansible import ansible, setup
from tests.bed.root_file_system import python_layer
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


SIZES = ((1, 1), (3, 1), (5, 3))
"""Members and API servers, each on a host of its own: 2, 4 and 8 hosts."""


def row(name: str, run: Callable[[], object], runs: int = RUNS) -> None:
    """Measure and print a line."""
    print(f"{name:44} {seconds(run, runs)}", flush=True)


def measure(fleet: Fleet, members: int, servers: int, *, compared: bool) -> None:
    """Found a cluster, and look at it again and again, also when hosts are cut off if there are enough."""
    plane = ControlPlane(
        fleet.directory, {f"cp{n}": (fleet.host(members + n), UNIT) for n in range(1, servers + 1)}
    )
    fleet.write_spec(range(1, members + 1))
    with fleet.spec.open("a") as text:
        text.write(f"  apiServers:\n    instances:\n{plane.instances()}")
    size = f"{members} + {servers}"
    plan = partial(fleet.run, "plan", fleet.spec, expect=None)
    row(f"{size}: bootstrap", fleet.apply, 1)
    row(f"{size}: plan", plan)
    row(f"{size}: status", partial(fleet.run, "status", fleet.spec))
    if compared:
        row(f"{size}: ansible -m setup", partial(setup, fleet, members + servers), 3)
    if members < 5:
        return
    fleet.host(5).cut_network()
    row(f"{size}: plan, one host drops packets", plan)
    for number in (3, 4):
        fleet.host(number).cut_network()
    row(f"{size}: plan, no quorum", plan)


def main() -> None:
    """Measure and print a table."""
    compared = "--without-ansible" not in sys.argv[1:]
    over = [python_layer()] if compared else []
    if compared:
        ansible()
    print(f"{'':44} median    max")
    for members, servers in SIZES:
        with (
            tempfile.TemporaryDirectory() as place,
            Fleet.up(Path(place), members + servers, over=over) as fleet,
        ):
            measure(fleet, members, servers, compared=compared)


if __name__ == "__main__":
    main()
