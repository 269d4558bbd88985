"""EP209 to EP212 on real hosts: a member that answers late, and one whose disk somebody else keeps busy.

python -m tests.evidence.host_latency [--out FILE]
"""

import argparse
import json
import tempfile
from pathlib import Path

from etcdplan.lab.binaries import etcd_binaries
from tests.bed.host import Host
from tests.evidence.bench import header, write
from tests.support.fleet import VERSION, Fleet

WHAT = """\
Two systemd hosts of the test bed with a member each, over SSH. For 80 s the second one's etcd is halted for two thirds
of the time, as one far away answers late; etcd measures each way to a peer every 30 s. Then somebody else writes to the
second one's disk, with `fsync` after each 64 MiB, while keys are put. What `plan` finds then (docs/checks.md):"""
DATA = "/var/lib/etcd"
PKI = "/etc/etcdplan/pki"
CODES = ("EP209", "EP210", "EP211", "EP212")
_LATE = """
end=$(($(date +%s) + 80))
while [ "$(date +%s)" -lt "$end" ]; do
    pid=$(systemctl show --value -p MainPID etcd)
    kill -STOP "$pid"; sleep 0.2; kill -CONT "$pid"; sleep 0.1
done
"""
_BUSY = f"while :; do dd if=/dev/zero of={DATA}/busy bs=1M count=64 conv=fsync; done"


def found(fleet: Fleet) -> list[str]:
    """Return a line for each of the findings in question."""
    document = json.loads(fleet.run("plan", fleet.spec, "--json", expect=None).out)
    return [
        f"| {one['code']} | `{one['address']}` | {one['message']} |"
        for one in document["findings"]
        if one["code"] in CODES
    ]


def put_keys(host: Host, count: int) -> None:
    """Put keys through that host's etcd."""
    pair = f"--cacert={PKI}/ca.crt --cert={PKI}/server/tls.crt --key={PKI}/server/tls.key"
    put = f"etcdctl --endpoints=https://{host.address}:2379 {pair} put k$n v"
    host.exec("sh", "-ec", f"for n in $(seq {count}); do {put}; done", timeout=300)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/evidence/host-latency.md"))
    out = parser.parse_args().out
    lines = ["| code | of | words |", "|---|---|---|"]
    with tempfile.TemporaryDirectory() as directory, Fleet.up(Path(directory), 2) as fleet:
        one, two = fleet.host(1), fleet.host(2)
        fleet.write_spec((1, 2), quotaBackend="256MiB")
        fleet.apply()
        one.put("/usr/local/bin/etcdctl", etcd_binaries(VERSION) / "etcdctl", 0o755)
        assert found(fleet) == [], "found before anything was late"
        two.exec("sh", "-c", _LATE, timeout=120)
        fleet.write_spec((1, 2), quotaBackend="256MiB", heartbeatInterval="10ms", electionTimeout="100ms")
        lines += found(fleet)
        fleet.write_spec((1, 2), quotaBackend="256MiB")
        two.exec("systemd-run", "--unit=busy", "sh", "-c", _BUSY)
        put_keys(one, 300)
        two.exec("systemctl", "stop", "busy")
        two.exec("rm", f"{DATA}/busy")
        lines += found(fleet)
    head = header("Latencies on hosts", "python -m tests.evidence.host_latency", WHAT)
    write(out, head + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
