"""API servers that the spec does not name."""

from collections.abc import Iterator

from etcdplan.diff.target import Target
from etcdplan.model.state import Settings, State


def unlisted(target: Target, state: State) -> Iterator[tuple[str, str, Settings]]:
    """Yield host, name and flags of each that runs; may raise `UnknownFact`.

    On a host that does not answer it counts as not running, as one in the spec would on a host that went with its
    member.
    """
    listed = {(server.host, server.name) for server in target.api_servers.values()}
    for host in state.hosts.values():
        if host.unreachable:
            continue
        for name, unit in host.api_servers.items():
            process = None if (host.address, name) in listed else unit.process.get()
            if process is not None:
                yield host.address, name, process.settings
        for name, settings in host.strays.items():
            yield host.address, name, settings
