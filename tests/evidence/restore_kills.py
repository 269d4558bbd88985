"""A restore on systemd hosts dies at chosen places, hosts lose power at that moment, and another machine finishes it.

python -m tests.evidence.restore_kills [--points 5:before,9:after+2,…] [--out FILE]
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

from etcdplan.hosts.processes import wait_until
from etcdplan.lab.binaries import etcd_binaries
from tests.evidence.bench import header, write
from tests.support.backups import with_backups
from tests.support.fleet import VERSION, Fleet, killed
from tests.support.kubernetes import OBJECTS, UNIT, ControlPlane

WHAT = """\
Three members on systemd hosts of the test bed over SSH, a real kube-apiserver on the first; one restore after the other
from the same backup, each over a cluster that serves. etcdplan is killed at the place named (before or after the n-th
effect); hosts that are named lose power at that moment and boot again. Then `apply --resume` from another machine.
*Right*: the object of before the backup is there, the one of after it is not, and a plan has nothing to do."""
POINTS = "2:after,5:before+2,6:after,8:after+1,10:after+1+2+3,13:after+2,16:before+3,19:after+2,25:after+1,33:after"


def main() -> None:
    """Try them, and write the page."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--points", default=POINTS)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="restore-kills-"))
    lines = []
    with Fleet.up(directory, 3) as fleet:
        plane = ControlPlane(directory, {"cp1": (fleet.host(1), UNIT)})
        fleet.write_spec((1, 2, 3))
        with fleet.spec.open("a") as spec:
            spec.write(f"  apiServers:\n    instances:\n{plane.instances()}")
        policy = with_backups(fleet.spec)
        opens = ("--age-identity", directory / "identity", "--etcd-dir", etcd_binaries(VERSION))
        fleet.apply()
        put(plane, "before")
        name = json.loads(fleet.run("backup", "run", policy, "--json", *opens).out)["name"]
        for point in options.points.split(","):
            place, *hosts = point.split("+")
            put(plane, "after")
            failpoint = {"ETCDPLAN_TEST_BUILD": "1", "ETCDPLAN_FAILPOINT": f"effect:{place}"}
            began = time.monotonic()
            died = fleet.run("restore", policy, name, "--auto-approve", *opens, expect=None, **failpoint)
            assert killed(died), died
            step = [
                line for line in died.err.splitlines() if line.startswith("[") and "done after" not in line
            ]
            for number in map(int, hosts):
                fleet.host(number).power_cut()
            for number in map(int, hosts):
                fleet.host(number).boot()
            fleet.runners += 1
            resumed = fleet.run("apply", "--resume", policy, *opens, expect=None)
            again = 0
            while resumed.code in (6, 7, 8) and again < 2:
                again += 1
                resumed = fleet.run("apply", "--resume", policy, *opens, expect=None)
            seconds = time.monotonic() - began
            right = resumed.code == 0 and wait_until(lambda: plane.ready("cp1"), timeout=60)
            right = right and plane.objects("cp1") == {"before"}
            right = right and "matches the specification" in fleet.run("plan", policy, expect=None).out
            where = step[-1].split("] ", 1)[1] if step else "before the first step"
            cut = ", ".join(f"host {number}" for number in hosts) or "none"
            lines.append(
                f"| {place} | {where} | {cut} | {1 + again} | {seconds:.0f} | {'yes' if right else 'NO'} |"
            )
            print(lines[-1], flush=True)
            assert right, resumed
    text = (
        header(
            "Restores that die on hosts",
            f"python -m tests.evidence.restore_kills --points {options.points}",
            WHAT,
        )
        + "\n| effect | within the step | power cut | resumes | seconds | right |\n|---|---|---|---|---|---|\n"
        + "\n".join(lines)
        + "\n"
    )
    if options.out:
        write(options.out, text)
    else:
        print(text)


def put(plane: ControlPlane, name: str) -> None:
    """Create an object, as soon as that is possible."""

    def written() -> bool:
        try:
            body = {"metadata": {"name": name}, "data": {"written": "once"}}
            return plane.request("cp1", "POST", OBJECTS, body)[0] in (201, 409)
        except OSError:
            return False

    assert wait_until(written, timeout=60)


if __name__ == "__main__":
    main()
