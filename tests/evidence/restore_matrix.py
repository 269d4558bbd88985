"""Backups of every minor version of etcd, restored to one, three and five members on other hosts.

python -m tests.evidence.restore_matrix [--versions 3.6.16,…] [--without-api-server] [--out FILE]
"""

import argparse
import json
import ssl
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from etcdplan.hosts.processes import wait_until
from etcdplan.lab.binaries import etcd_binaries
from tests.evidence.bench import header, write
from tests.support.backups import with_backups
from tests.support.cli import Lab

WHAT = """\
A lab with real etcds and a real kube-apiserver: three members, 300 keys, a verified backup, 100 keys more; then it is
restored three times from that backup, each time over whatever is there: to one member on another host, to three, to
five. *HashKV*: whether all members give the same one, asked with etcdctl. *Revision*: before and after. *Watcher*: what
an API server answers to a client that goes on watching from a resource version of before: `410` makes it list anew."""
VERSIONS = ("3.4.23", "3.5.35", "3.6.16", "3.7.3")
SIZES = ((4,), (3, 4, 5), (1, 2, 3, 4, 5))
TOKEN = "a-token-of-this-lab"
MAPS = "/api/v1/namespaces/default/configmaps"


@dataclass
class Place:
    """A lab of one version, and what is done with it."""

    lab: Lab
    version: str
    api_server: bool

    def etcdctl(self, *arguments: str, host: int) -> str:
        """Run etcdctl through the member on a host."""
        done = self.lab.etcdctl(*arguments, host=host, version=self.version)
        assert done.returncode == 0, done
        return done.stdout

    def put(self, first: int, last: int) -> None:
        """Write keys."""
        for number in range(first, last):
            self.etcdctl("put", f"/registry/things/{number}", "{}", host=1)

    def header(self, host: int) -> dict[str, Any]:
        """Return revision and cluster ID as a member says them."""
        found: dict[str, Any] = json.loads(self.etcdctl("get", "x", "-w", "json", host=host))["header"]
        return found

    def hashes(self, hosts: tuple[int, ...]) -> set[int]:
        """Return the different HashKV of the members."""
        found = set()
        for host in hosts:
            said = json.loads(self.etcdctl("endpoint", "hashkv", "-w", "json", host=host))
            found.add(said[0]["HashKV"]["hash"])
        return found

    def ask(self, path: str) -> tuple[int, str]:
        """Ask the API server as one who may do everything."""
        context = ssl._create_unverified_context()  # noqa: S323 - it made its certificate itself
        url = f"https://{self.lab.address(11)}:6443{path}"
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {TOKEN}"})
        try:
            with urllib.request.urlopen(request, timeout=20, context=context) as answer:  # noqa: S310
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)

    def ready(self) -> bool:
        """Whether the API server, if there is one, says that it is."""
        return not self.api_server or self.ask("/readyz")[0] == 200

    def seen(self) -> str:
        """Return the resource version that a client has seen last."""
        return str(json.loads(self.ask(MAPS)[1])["metadata"]["resourceVersion"]) if self.api_server else ""

    def watcher(self, seen: str) -> str:
        """Return what who watches on is answered."""
        if not self.api_server:
            return "not tried"
        status, said = self.ask(f"{MAPS}?watch=1&timeoutSeconds=8&resourceVersion={seen}")
        if status == 200 and said:
            return str(json.loads(said.splitlines()[0])["object"].get("code", "events"))
        return str(status) if status != 200 else "silence"


def rows(version: str, directory: Path, *, api_server: bool) -> list[str]:
    """Do all of it with one version."""
    with Lab(directory) as lab:
        lab.make(5, version=version, api_servers=int(api_server))
        if api_server:
            base = next(lab.root(11).rglob("apiserver-cp1.base"))
            base.write_text(f"{base.read_text()}--token-auth-file=/etc/kubernetes/tokens.csv\n")
            (lab.root(11) / "etc/kubernetes/tokens.csv").write_text(f'{TOKEN},admin,1,"system:masters"\n')
        policy = with_backups(lab.spec)
        place = Place(lab, version, api_server)

        def of(*hosts: int) -> Path:
            document = yaml.safe_load(policy.read_text())
            document["spec"]["members"] = [
                {"name": f"member{number}", "host": lab.address(number)} for number in hosts
            ]
            path = policy.with_name(f"of-{len(hosts)}.yaml")
            path.write_text(yaml.safe_dump(document, sort_keys=False))
            return path

        lab.apply(of(1, 2, 3))
        place.put(0, 300)
        opens = ("--age-identity", policy.parent / "identity", "--etcd-dir", etcd_binaries(version))
        name = json.loads(lab.run("backup", "run", of(1, 2, 3), "--json", *opens).out)["name"]
        place.put(300, 400)
        before, there, found = place.header(1), 1, []
        for hosts in SIZES:
            assert wait_until(place.ready, timeout=60)
            seen = place.seen()
            before = place.header(there)
            began = time.monotonic()
            lab.run("restore", of(*hosts), name, "--auto-approve", *opens, timeout=500)
            seconds, there = time.monotonic() - began, hosts[0]
            after, hashes = place.header(there), place.hashes(hosts)
            keys = place.etcdctl("get", "/registry/things/", "--prefix", "--keys-only", host=there).split()
            clean = "matches the specification" in lab.run("plan", of(*hosts)).out
            right = len(keys) == 300 and clean and after["cluster_id"] != before["cluster_id"]
            assert wait_until(place.ready, timeout=60)
            found.append(
                f"| {version} | {len(hosts)} | {seconds:.0f} | {'equal' if len(hashes) == 1 else 'DIFFERENT'} | "
                f"{before['revision']} → {after['revision']} | {place.watcher(seen)} | {'yes' if right else 'NO'} |"
            )
            print(found[-1], flush=True)
        return found


def main() -> None:
    """Run them, and write the page."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--versions", default=",".join(VERSIONS))
    parser.add_argument("--without-api-server", action="store_true")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    lines = []
    for version in options.versions.split(","):
        directory = Path(tempfile.mkdtemp(prefix=f"restore-{version}-"))
        lines += rows(version, directory, api_server=not options.without_api_server)
    text = (
        header("Restores of every minor version", "python -m tests.evidence.restore_matrix", WHAT)
        + "\n| etcd | members | seconds | HashKV | revision | watcher | keys right, plan clean |\n"
        + "|---|---|---|---|---|---|---|\n"
        + "\n".join(lines)
        + "\n"
    )
    if options.out:
        write(options.out, text)
    else:
        print(text)


if __name__ == "__main__":
    main()
