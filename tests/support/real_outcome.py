"""What became of a real lab, in comparable form: cluster, processes, settings, files, and what etcd was asked to do."""

import json
import re
import stat
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from etcdplan.apply.journal import read_journal
from etcdplan.diff.target import Target
from etcdplan.model.state import Record, State
from tests.faults.shape import shape
from tests.support.cli import Lab

_UNLIKE = re.compile(
    r"/var/lib/etcd/(set-aside-[^/]+/)?member/|/var/lib/etcdplan/(journal|effects)/|/var/log/"
)
"""Files that come and go with time and chance."""
_ONCE = re.compile(r"start |stop |hold |set the data aside")
"""Effects that a resumed run must not make once more. What etcd is asked for is counted by etcd itself."""


def dump(lab: Lab, state: State, target: Target) -> str:
    """Return the end state, a fact a line, without what differs between two labs: addresses, the CA, IDs, times."""
    text = "\n".join([*facts(shape(state), "state"), *_files(lab.place.hosts)])
    for cluster in state.clusters:
        text = text.replace(str(cluster), "CLUSTER")
    text = text.replace(lab.network, "NETWORK")
    return text.replace(target.ca, "CA") if target.ca else text


def facts(value: Any, path: str) -> Iterator[str]:
    """Yield what a state, or a part of one, says, a fact a line; nothing that takes no part in comparing states."""
    if isinstance(value, Record):
        members = sorted((url, member.name, member.learner) for url, member in value.members.items())
        yield from facts((value.cluster, value.cluster_id, value.hosts, members), path)
    elif is_dataclass(value):
        for part in fields(value):
            if part.compare:
                yield from facts(getattr(value, part.name), f"{path}/{part.name}")
    elif isinstance(value, Mapping):
        for key in sorted(value):
            yield from facts(value[key], f"{path}/{key}")
    elif isinstance(value, tuple | list):
        for number, part in enumerate(value):
            yield from facts(part, f"{path}/{number}")
    else:
        yield f"{path} = {value}"


def _files(hosts: Path) -> list[str]:
    """Return every file with its mode; temporary files that a kill left count for nothing, if only their owner may."""
    found = set()
    for path in sorted(hosts.rglob("*")):
        name = f"/{path.relative_to(hosts)}"
        if _UNLIKE.search(name):
            continue
        mode = path.lstat().st_mode
        if re.search(r"/\.[^/]+\.(link-)?[0-9a-f]{16}$", name):
            assert stat.S_ISLNK(mode) or not mode & 0o077, f"{name} is open to others"
            continue
        # The numbers of certificate pairs, and the times at which data was set aside.
        name = re.sub(
            r"(/\.[^/]+\.)\d+(?=/|$)", r"\1N", re.sub(r"set-aside-\d{8}T\d{6}Z", "set-aside-TIME", name)
        )
        found.add(f"{stat.filemode(mode)} {name}")
    return sorted(found)


def asked(lab: Lab) -> Counter[tuple[str, str]]:
    """Count the additions, removals and promotions that etcd's own logs (3.5 and newer) tell of, by peer URL."""
    events: set[tuple[str, str]] = set()
    urls: dict[str, str] = {}
    for log in (*lab.place.hosts.glob("*/var/log/etcd.log"), *lab.place.path.glob("gone/*/var/log/etcd.log")):
        for line in log.read_text(errors="replace").splitlines():
            if '"cluster-id"' not in line or not line.startswith("{"):
                continue
            entry = json.loads(line)
            if entry["msg"] == "added member":
                urls[entry["added-peer-id"]] = ",".join(entry["added-peer-peer-urls"])
                events.add(("add", entry["added-peer-id"]))
            elif entry["msg"] == "removed member":
                events.add(("remove", entry["removed-remote-peer-id"]))
            elif entry["msg"] == "promote member":
                events.add(("promote", entry["promoted-member-id"]))
    return Counter((kind, urls[member].replace(lab.network, "NETWORK")) for kind, member in events)


def made_once(lab: Lab) -> Counter[tuple[str, str]]:
    """Count the effects on hosts that are made only once each, those of which it is unknown included."""
    found: Counter[tuple[str, str]] = Counter()
    for path, note in lab.effects().items():
        claim, _, result = note.partition("\n")
        effect = json.loads(claim)["effect"]
        if _ONCE.match(effect) and "refused" not in result:
            found[path.split("/")[0].replace(lab.network, "NETWORK"), effect] += 1
    return found


def check_journals(lab: Lab) -> None:
    """Check every journal on every host: whole, or torn only in its last line."""
    for journal in lab.place.hosts.glob("*/var/lib/etcdplan/journal/*"):
        read_journal(journal.read_bytes())
