"""etcdplan status SPEC"""

import sys

from etcdplan.cli.options import AgeIdentity, Json, NoColor, SpecPath
from etcdplan.cli.output import colored, result


def status(
    spec: SpecPath, json: Json = False, no_color: NoColor = False, age_identity: AgeIdentity = None
) -> int:
    """Show how the cluster stands: members, quorum, API servers. Changes nothing."""
    from etcdplan.cli.cluster import connect, load
    from etcdplan.render.json import status_json
    from etcdplan.render.status import status_text

    with connect(load(spec), age_identity or []) as reached:
        state = reached.observe()
    if json:
        result(status_json(state, reached.target))
    else:
        result(status_text(state, reached.target, color=colored(sys.stdout, no_color=no_color)))
    return 8 if any(host.unreachable for host in state.hosts.values()) else 0
