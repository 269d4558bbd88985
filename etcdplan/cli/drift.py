"""etcdplan drift SPEC"""

import sys
from typing import TYPE_CHECKING

from etcdplan.cli.options import AgeIdentity, Json, NoColor, SpecPath
from etcdplan.cli.output import colored, result, width

if TYPE_CHECKING:
    from etcdplan.hosts.ports import StoreReader


def drift(
    spec: SpecPath, json: Json = False, no_color: NoColor = False, age_identity: AgeIdentity = None
) -> int:
    """Say what differs from the spec and what falls short of it, for a nightly job. Changes nothing.

    Exits with 2 when there is anything, with 8 when something that is needed could not be observed, else with 0.
    """
    from etcdplan.apply.last_applied import last_applied
    from etcdplan.cli.cluster import connect, load
    from etcdplan.planner.document import to_document
    from etcdplan.planner.drift import exit_code
    from etcdplan.planner.unroll import unroll
    from etcdplan.render.drift import drift_json, drift_text

    cluster = load(spec)
    with connect(cluster, age_identity or []) as reached:
        kept: dict[str, StoreReader] = {}
        state = reached.observe(measure=True, kept=kept)
        applied = last_applied(reached.hosts, state, cluster.digest, each=reached.each, kept=kept)
    document = to_document(unroll(cluster.target, state), cluster.digest, spec_path=str(spec))
    if json:
        result(drift_json(document, applied))
    else:
        color = colored(sys.stdout, no_color=no_color)
        result(drift_text(document, applied, color=color, width=width()))
    return exit_code(document)
