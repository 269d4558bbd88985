"""How a cluster stands: its members, its API servers, and what could not be seen."""

import shlex
from collections.abc import Iterator, Sequence
from typing import Any

from etcdplan.apply.pending import Pending
from etcdplan.diff.target import Target
from etcdplan.model.quorum import quorum
from etcdplan.model.state import State, Unit, host_of
from etcdplan.render.pending import pending, pending_lines
from etcdplan.render.printable import counted, paint, printable


def status(state: State, target: Target | None, left: Pending | None = None) -> dict[str, Any]:
    """Return the status in JSON terms. With a target, members of the spec that are not listed are shown too."""
    membership = state.membership.value
    now = quorum(membership)
    return {
        "cluster": {
            "name": target.cluster if target else None,
            "id": f"{membership.cluster_id:x}" if membership else None,
            "members_unknown": state.membership.why,
            "clusters_answering": [f"{number:x}" for number in state.clusters],
        },
        "quorum": {
            "voters": now.voters,
            "healthy": now.healthy,
            "needed": now.needed,
            "tolerates": now.tolerates,
            "running": _running_voters(state),
        }
        if membership
        else None,
        "members": [*_members(state, target)],
        "api_servers": [*_api_servers(state, target)],
        "unreachable": {host.address: host.unreachable for host in state.hosts.values() if host.unreachable},
        **pending(left or Pending()),
    }


def _running_voters(state: State) -> int:
    """Return how many voters' etcd is known to run, serving or not."""
    members = state.membership.value.members if state.membership.value else {}
    hosts = (state.hosts.get(host_of(url)) for url, member in members.items() if not member.learner)
    return sum(host is not None and host.etcd.process.value is not None for host in hosts)


def _members(state: State, target: Target | None) -> Iterator[dict[str, Any]]:
    last_seen = state.last_seen if state.membership.is_unknown else None
    membership = state.membership.value or last_seen
    listed = membership.members if membership else {}
    for url, member in sorted(listed.items()):
        yield {
            "name": member.name,
            "host": host_of(url),
            "peer_url": url,
            "role": "learner" if member.learner else "voter",
            "serving": None if last_seen else member.serving,
            "leader": url == state.leader and not last_seen,
            "version": member.version,
            "in_spec": url in target.members if target else None,
        }
    for url, wanted in (target.members if target else {}).items():
        if url not in listed:
            yield {
                "name": wanted.name,
                "host": wanted.host,
                "peer_url": url,
                "role": "none",
                "serving": False,
                "leader": False,
                "version": "",
                "in_spec": True,
            }


def _api_servers(state: State, target: Target | None) -> Iterator[dict[str, Any]]:
    found = {
        (name, host.address): unit
        for host in state.hosts.values()
        for name, unit in host.api_servers.items()
        if not host.unreachable
    }
    for server in target.api_servers.values() if target else ():
        host = state.hosts.get(server.host)
        if host is not None:
            found.setdefault((server.name, server.host), host.unit(server.unit))
    for (name, address), unit in sorted(found.items()):
        process = unit.process.value
        yield {
            "name": name,
            "host": address,
            "state": _running(unit),
            "endpoints": process.settings.get("etcd-servers", "").split(",") if process else [],
        }


def _running(unit: Unit) -> str:
    process = unit.process.value
    if unit.process.is_unknown:
        return "unknown"
    if process is None:
        return "failing" if unit.failing else "held" if unit.held else "down"
    return "ready" if process.answering else "hung" if process.hung else "not ready"


def status_text(
    state: State, target: Target | None, color: bool, *, left: Pending | None = None, spec_path: str = "SPEC"
) -> str:
    """Return the status as tables, ending in a newline; `left` is what applies have left, or do."""
    seen = status(state, target)
    parts = [[_headline(seen, color)]]
    if lines := [*pending_lines(left or Pending(), shlex.quote(spec_path))]:
        parts.append([paint(printable(line), "yellow", color=color) for line in lines])
    if seen["members"]:
        rows = [_member_row(member) for member in seen["members"]]
        parts.append(_table(("MEMBER", "HOST", "ROLE", "SERVING", "LEADER", "VERSION", ""), rows, color))
    if seen["api_servers"]:
        rows = [
            (server["name"], server["host"], server["state"], ",".join(server["endpoints"]))
            for server in seen["api_servers"]
        ]
        parts.append(_table(("API SERVER", "HOST", "STATE", "ETCD SERVERS"), rows, color))
    silent = [(address, why) for address, why in sorted(seen["unreachable"].items())]
    if silent:
        parts.append(_table(("UNREACHABLE HOST", "REASON"), silent, color))
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def _headline(seen: dict[str, Any], color: bool) -> str:
    cluster, now = seen["cluster"], seen["quorum"]
    name = " ".join(part for part in ("Cluster", cluster["name"] or "", cluster["id"] or "") if part)
    if cluster["members_unknown"]:
        text, style = f"members unknown: {cluster['members_unknown']}. What follows was last seen.", "red"
    elif now is None:
        text, style = "not founded yet.", "yellow"
    elif now["tolerates"] < 0:
        text = f"quorum is lost, {_serving(now)}."
        if now["running"] >= now["needed"]:
            text += f" {now['running']} run: an election may be under way, look again in a few seconds."
        style = "red"
    else:
        text = f"{_serving(now)}, {now['tolerates']} more may fail."
        style = "green" if now["healthy"] == now["voters"] else "yellow"
    return paint(printable(f"{name}: {text}"), "bold", style, color=color)  # type: ignore[arg-type]


def _serving(now: dict[str, int]) -> str:
    voters, healthy, needed = now["voters"], now["healthy"], now["needed"]
    serve, are = "serves" if healthy == 1 else "serve", "is" if needed == 1 else "are"
    return f"{healthy} of {counted(voters, 'voter')} {serve}, {needed} {are} needed"


def _member_row(member: dict[str, Any]) -> tuple[str, ...]:
    serving = {True: "yes", False: "no", None: "?"}[member["serving"]]
    stranger = "not in the spec" if member["in_spec"] is False else ""
    note = "not a member yet" if member["role"] == "none" else stranger
    name = member["name"] or "(not started)"
    leader = "yes" if member["leader"] else ""
    return (name, member["host"], member["role"], serving, leader, member["version"], note)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], color: bool) -> list[str]:
    clean = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(head, *clean, strict=True)]
    lines = [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (head, *clean)
    ]
    return [paint(lines[0], "bold", color=color), *lines[1:]]
