"""What became of a real lab, in comparable form: cluster, processes, settings, files, and what etcd was asked to do."""

import json
import re
import stat
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
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
    """Return every file with its mode, which is for its owner alone; temporary files that a kill left do not count."""
    found = set()
    for path in sorted(hosts.rglob("*")):
        name = f"/{path.relative_to(hosts)}"
        if _UNLIKE.search(name):
            continue
        mode = path.lstat().st_mode
        assert stat.S_ISLNK(mode) or name.endswith(".pid") or not mode & 0o077, f"{name} is open to others"
        if re.search(r"/\.[^/]+\.(link-)?[0-9a-f]{16}$", name):
            continue
        # The numbers of certificate pairs, and the times at which data was set aside.
        name = re.sub(
            r"(/\.[^/]+\.)\d+(?=/|$)", r"\1N", re.sub(r"set-aside-\d{8}T\d{6}Z-\d+", "set-aside", name)
        )
        found.add(f"{stat.filemode(mode)} {name}")
    return sorted(found)


@dataclass(frozen=True)
class History:
    """What was asked of etcd so far, as kind, member ID and peer URL, and every effect that was claimed on a host."""

    events: frozenset[tuple[str, str, str]] = frozenset()
    effects: frozenset[str] = frozenset()


NOTHING = History()


def history(lab: Lab) -> History:
    """Return all that happened in a lab until now."""
    return History(frozenset(_events(lab)), frozenset(lab.effects()))


def asked(lab: Lab, since: History = NOTHING) -> Counter[tuple[str, str]]:
    """Count the additions, removals and promotions that etcd's own logs (3.5 and newer) tell of, by peer URL."""
    new = set(_events(lab)) - since.events
    return Counter((kind, url.replace(lab.network, "NETWORK")) for kind, _, url in new)


def _events(lab: Lab) -> Iterator[tuple[str, str, str]]:
    entries = []
    for log in (
        *lab.place.hosts.glob("*/var/log/etcd.log*"),
        *lab.place.path.glob("gone/*/var/log/etcd.log*"),
    ):
        lines = log.read_text(errors="replace").splitlines()
        entries += [
            json.loads(line) for line in lines if line.startswith("{") and '"local-member-id"' in line
        ]
    added = [entry for entry in entries if entry["msg"] == "added member"]
    urls = {entry["added-peer-id"]: ",".join(entry["added-peer-peer-urls"]) for entry in added}
    for kind, message, member in (
        ("add", "added member", "added-peer-id"),
        ("remove", "removed member", "removed-remote-peer-id"),
        ("promote", "promote member", "promoted-member-id"),
    ):
        for entry in entries:
            if entry["msg"] == message:
                yield kind, entry[member], urls[entry[member]]


def made_once(
    lab: Lab, since: History = NOTHING
) -> tuple[Counter[tuple[str, str]], Counter[tuple[str, str]]]:
    """Count the effects on hosts that are made only once each: those that were done, and those that may have been."""
    done: Counter[tuple[str, str]] = Counter()
    possible: Counter[tuple[str, str]] = Counter()
    for path, note in lab.effects().items():
        claim, _, result = note.partition("\n")
        effect = json.loads(claim)["effect"] if claim else ""
        if path not in since.effects and _ONCE.match(effect) and "refused" not in result:
            key = path.split("/")[0].replace(lab.network, "NETWORK"), effect
            possible[key] += 1
            done[key] += "done" in result
    return done, possible


def check_journals(lab: Lab) -> None:
    """Check every journal on every host: whole, or torn only in its last line."""
    for journal in lab.place.hosts.glob("*/var/lib/etcdplan/journal/*"):
        read_journal(journal.read_bytes())
