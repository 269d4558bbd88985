"""Who knows of the most when the majority is lost: by how far the logs go, and not by revisions.

What a member's hard state calls committed was agreed on; of what is behind that in its log, nobody who is left can say.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from etcdplan.diff.view import View
from etcdplan.errors import EtcdplanError, RefusedError
from etcdplan.hosts.data_copy import DataOnHost
from etcdplan.hosts.wal import LogEnd, log_end
from etcdplan.model.state import Host, host_of
from etcdplan.transport.errors import EtcdRejected, EtcdUnreachable
from etcdplan.transport.etcd import EtcdClient

_CALL = 10.0


@dataclass(frozen=True, slots=True)
class Survivor:
    """A member whose data are there. `url` is where it answers; empty when it does not, though it may be `running`."""

    name: str
    host: str
    end: LogEnd
    running: bool
    url: str = ""

    @property
    def how(self) -> str:
        """Say in what state it is."""
        if self.url:
            return "answers"
        return "runs, and does not answer" if self.running else "is stopped"


@dataclass(frozen=True, slots=True)
class Survivors:
    """The survivors, the best first, and of whom nothing is known, with the reason."""

    found: tuple[Survivor, ...]
    silent: tuple[str, ...]

    def lines(self) -> list[str]:
        """Say who is there, and what nobody can tell of."""
        lines = [
            f"{one.name} on {one.host} {one.how}: it knew entries up to {one.end.commit} to be agreed on"
            + (f", and has some up to {one.end.last}" if one.end.last > one.end.commit else "")
            + ("" if one.end.whole else "; its log is damaged behind that")
            + "."
            for one in self.found
        ]
        return lines + [f"Nothing is known of {silent}." for silent in self.silent]

    def best(self, name: str | None = None) -> Survivor:
        """Return the survivor to take the data from: the named one, else the best; raise `RefusedError`."""
        wanted = [one for one in self.found if name in (None, one.name, one.host)]
        if not wanted:
            who = "Nobody" if name is None else f"No {name}"
            raise RefusedError(
                f"{who} is left that has data of this cluster and whose log can be read.",
                hint="Restore a backup: etcdplan restore SPEC.",
            )
        best = wanted[0]
        if best.running and not best.url:
            raise RefusedError(
                f"etcd of {best.name} on {best.host} runs without answering, so its data cannot be copied.",
                hint="Stop it there and try again; while it runs it only waits for the others. Others: --from MEMBER.",
            )
        return best

    def uncertain(self, chosen: Survivor) -> int:
        """Return the greatest index that anybody has an entry of; above the chosen one's commit all is uncertain."""
        return max(max(one.end.last, one.end.commit) for one in (*self.found, chosen))


def find_survivors(
    view: View, data: Callable[[str], DataOnHost], etcd: Callable[[str, str], EtcdClient]
) -> Survivors:
    """Look at every host's log, and ask those that answer. Nothing is changed."""
    found, silent = [], []
    for host in view.state.hosts.values():
        name = _name(view, host.address)
        if host.unreachable:
            if host.address in view.former_hosts or host.address in view.target.member_hosts:
                silent.append(f"{name}: {host.address} does not answer")
            continue
        held = host.data.value
        if held is None or held.cluster_id != view.cluster_id:
            continue
        try:
            found.append(_survivor(host, name, data(host.address), etcd))
        except (EtcdplanError, ValueError) as error:
            silent.append(f"{name} on {host.address}: {error}".rstrip("."))
    # Of equals one that answers: it gives a snapshot itself.
    found.sort(key=lambda one: (one.end.commit, bool(one.url), one.end.order, one.name), reverse=True)
    return Survivors(tuple(found), tuple(silent))


def _survivor(host: Host, name: str, data: DataOnHost, etcd: Callable[[str, str], EtcdClient]) -> Survivor:
    segment = data.newest_segment()
    if segment is None:
        raise ValueError("there is no log")
    end, process = log_end(*segment), host.etcd.process.value
    running = process is not None or host.etcd.process.is_unknown
    url = (
        process.settings.get("advertise-client-urls", "").split(",")[0]
        if process and process.answering
        else ""
    )
    if url:
        try:
            status = etcd(host.address, url).status(timeout=_CALL)
            # What it calls its raft index is what it knows to be agreed on (etcd v3rpc/maintenance.go).
            end = replace(end, commit=max(end.commit, status.raft_index))
        except (EtcdUnreachable, EtcdRejected):
            url = ""
    return Survivor(name, host.address, end, running, url)


def _name(view: View, address: str) -> str:
    if wanted := view.target.member_hosts.get(address):
        return wanted.name
    listed = view.listed.members.values() if view.listed else ()
    return next((one.name for one in listed if one.name and host_of(one.peer_url) == address), address)


def named_host(view: View, name: str) -> tuple[str, str]:
    """Return the host of a member, by its name or by its address, and the member's name; raise `RefusedError`."""
    for address in view.state.hosts:
        if name in (address, _name(view, address)):
            return address, _name(view, address)
    known: Sequence[str] = sorted(_name(view, address) for address in view.target.member_hosts)
    raise RefusedError(f"There is no member or host {name}.", hint=f"The members are {', '.join(known)}.")
