"""etcdplan status SPEC"""

import sys

from etcdplan.cli.options import AgeIdentity, Json, NoColor, SpecPath
from etcdplan.cli.output import colored, result


def status(
    spec: SpecPath, json: Json = False, no_color: NoColor = False, age_identity: AgeIdentity = None
) -> int:
    """Show how the cluster stands: members, quorum, API servers, an unfinished apply. Changes nothing.

    Exits with 8 when a host is not reached or the members are unknown, with 2 when the quorum is lost, else with 0.
    """
    from etcdplan.cli.cluster import connect, load
    from etcdplan.model.quorum import quorum
    from etcdplan.render.json import status_json
    from etcdplan.render.status import status_text

    with connect(load(spec), age_identity or []) as reached:
        state, left = reached.look("status")
    if json:
        result(status_json(state, reached.target, left))
    else:
        color = colored(sys.stdout, no_color=no_color)
        result(status_text(state, reached.target, color, left=left, spec_path=str(spec)))
    if state.membership.is_unknown or any(host.unreachable for host in state.hosts.values()):
        return 8
    return 2 if state.membership.value is not None and not quorum(state.membership.value).holds else 0
