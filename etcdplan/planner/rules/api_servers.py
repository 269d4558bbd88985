"""API servers never name a member that is gone; they learn of new ones when these vote."""

from collections.abc import Callable

from etcdplan.diff.unlisted import unlisted
from etcdplan.diff.view import View
from etcdplan.model.endpoints import OVERRIDES, named, overrides, servers
from etcdplan.model.state import Settings
from etcdplan.planner.refusal import Refusal
from etcdplan.steps.api_server import RouteClientsBack, StopApiServer, same_flags
from etcdplan.steps.base import Step


def _first_naming(view: View, wrong: Callable[[Settings], bool]) -> Step | None:
    """Re-point, or else stop, the first running API server whose flags name a wrong endpoint."""
    for server in view.api_servers:
        if wrong(view.in_use(server)):
            step = view.api_server(server) or StopApiServer(server.name, server.host, view.target.drain)
            return _down(view) or step
    return None


def _down(view: View) -> Step | None:
    """Start one that is down and may run: none is taken down beside it."""
    if _cannot_start(view):
        return None
    for server in view.api_servers:
        if view.state.host(server.host).unit(server.unit).process.get() is None:
            step = view.api_server(server)
            if step is not None:
                return step
    return None


def _cannot_start(view: View) -> bool:
    """Whether etcd refuses all writes: one that has to write does not become ready then, and the alarm needs none."""
    return view.state.corruption is not None


def returned(view: View) -> Step | None:
    """Re-point API servers that name what is no member."""
    membership = view.state.membership.value
    if membership is None or not view.born or not view.quorum.holds or _cannot_start(view):
        return None
    known = {url for member in membership.members.values() for url in member.client_urls}
    known.add(view.target.load_balancer or "")
    return _first_naming(view, lambda flags: bool(servers(flags) - known))


def start_down(view: View) -> Step | None:
    """Start API servers that are down."""
    if not view.born or view.state.membership.value is None or not view.quorum.holds or _cannot_start(view):
        return None
    for server in view.api_servers:
        unit = view.state.host(server.host).unit(server.unit)
        step = view.api_server(server)
        if step is not None and unit.process.get() is None and same_flags(unit.settings.get(), step.settings):
            return step
    return None


def off_the_lost(view: View) -> Step | Refusal | None:
    """Take failed members out of the API servers' flags."""
    return _off(view, set(view.lost) | {member.peer_url for member in view.leaving if member.learner})


def off_the_corrupt(view: View) -> Step | Refusal | None:
    """Stop API servers whose own member holds other data than the majority."""
    # Others stay as they are: while etcd refuses all writes, one that is started anew may not become ready.
    if view.target.connect != "own":
        return None
    return _off(view, {member.peer_url for member in view.corrupt})


def off_the_leaving(view: View) -> Step | Refusal | None:
    """Take members that leave out of the API servers' flags."""
    return _off(view, set(view.going))


def _off(view: View, going: set[str]) -> Step | Refusal | None:
    if view.membership is None or not going:
        return None
    members = (view.membership.members[url] for url in going)
    endpoints = {url for member in members for url in member.client_urls}
    return (
        _override_naming(view, endpoints)
        or _first_naming(view, lambda flags: bool(named(flags) & endpoints))
        or unlisted_naming(view, endpoints, lambda used: f"{', '.join(sorted(used))}, which shall be removed")
    )


def _override_naming(view: View, endpoints: set[str]) -> Refusal | None:
    """Resources with an etcd of their own would lose it: where they go instead only the user knows."""
    for server in view.api_servers:
        if there := overrides(view.flags(server)) & endpoints:
            return Refusal(
                "override-names-member",
                f"apiserver/{server.name}",
                f"API server {server.name} keeps some resources at {', '.join(sorted(there))} "
                f"(--{OVERRIDES}), which shall be removed.",
                f'Write into apiServers.flags.{OVERRIDES} where these resources shall be, or "" for where all others '
                "are; objects are not moved.",
            )
    return None


def unlisted_naming(view: View, endpoints: set[str], what: Callable[[frozenset[str]], str]) -> Refusal | None:
    """Refuse when an API server that the spec does not name runs and uses one of these endpoints; `what` says which."""
    for address, name, settings in unlisted(view.target, view.state):
        if used := named(settings) & endpoints:
            return not_listed(address, name, what(used))
    return None


def not_listed(address: str, name: str, what: str) -> Refusal:
    """Refuse because of an API server that the spec does not name, and that uses something."""
    return Refusal(
        "api-server-not-listed",
        f"apiserver/{name}",
        f"API server {name} on {address}, which the spec does not name, runs and uses {what}.",
        "Put it into the spec, or stop it (the one of a static pod by moving its manifest out of "
        "/etc/kubernetes/manifests).",
    )


def final(view: View) -> Step | None:
    """Bring API servers to the spec's flags."""
    if not view.born:
        return None
    # The one whose clients are away already comes first: they are never away from two because of this.
    for server in sorted(view.api_servers, key=lambda server: not view.routed_away(server)):
        step = view.api_server(server)
        if step is not None and step.effects(view.state):
            return _down(view) or step
    return None


def route_back(view: View) -> Step | None:
    """Route clients back to API servers."""
    for server in view.api_servers:
        if view.routed_away(server):
            process = view.state.host(server.host).unit(server.unit).process.get()
            step = view.api_server(server)
            if (
                process is not None
                and process.answering
                and step is not None
                and not step.effects(view.state)
            ):
                return RouteClientsBack(server.name, server.host, view.target.drain)
    return None
