"""What is done first. The order of this list is the product.

A rule looks at a target and a settled state and proposes one step, a refusal, or nothing; the first that proposes,
wins. A rule's docstring is the heading under which its steps stand in a plan.
"""

from collections.abc import Callable

from etcdplan.diff.target import Target
from etcdplan.diff.view import View
from etcdplan.model.facts import UnknownFact
from etcdplan.model.state import State
from etcdplan.planner.refusal import Refusal
from etcdplan.planner.rules import (
    api_servers,
    backup_hosts,
    backups,
    corruption,
    credentials,
    cures,
    founding,
    identity,
    joining,
    leaving,
    leftovers,
    lost,
    programs,
    quorum,
    restoring,
    settings,
)
from etcdplan.steps.base import Step

Rule = Callable[[View], Step | Refusal | None]

RULES: tuple[Rule, ...] = (
    identity.every_host_answers,
    identity.one_cluster,
    identity.nothing_foreign,
    identity.nothing_unsupported,
    founding.no_trace_of_another,
    founding.started_by_themselves,
    programs.install,
    credentials.trust,
    credentials.certificates,
    api_servers.start_down,
    api_servers.returned,
    cures.start_members,
    cures.room_for_data,
    founding.start_founders,
    founding.all_founded,
    quorum.quorum_lost,
    corruption.all_were_asked,
    api_servers.off_the_corrupt,
    corruption.fence,
    corruption.clear,
    joining.seal,
    api_servers.off_the_lost,
    lost.retire_lost,
    lost.remove_lost,
    leftovers.retire_removed,
    leaving.remove_learners,
    joining.host_of_newcomer,
    joining.start_newcomer,
    joining.promote_newcomer,
    joining.add_missing,
    api_servers.off_the_leaving,
    leaving.remove_leaving,
    api_servers.route_back,
    api_servers.final,
    restoring.restart_units,
    settings.rolling_change,
    backup_hosts.install_itself,
    backup_hosts.set_up,
    backup_hosts.dismiss,
)

RESTORE: tuple[Rule, ...] = (
    restoring.hosts_answer,
    restoring.one_restore,
    restoring.nothing_foreign,
    identity.one_authority,
    restoring.begin,
    programs.install,
    credentials.trust,
    credentials.certificates,
    restoring.stage,
    restoring.stop_api_servers,
    backups.last_backup,
    restoring.stop_members,
    restoring.swap,
    restoring.start,
    restoring.verify,
    restoring.take_alarm_back,
    restoring.let_clients_in,
    restoring.end,
)
"""While a restore is to be done; with its end recorded everywhere, the others go on and start the API servers."""

ABANDON: tuple[Rule, ...] = (
    restoring.nothing_was_stopped,
    restoring.abandon,
    restoring.forget,
)
"""While a restore is taken back; when no host knows of it any more, `RULES` start again what it has stopped."""

REPAIRS: frozenset[Rule] = frozenset(
    {api_servers.returned, cures.start_members, leftovers.retire_removed, restoring.take_alarm_back}
)
"""Rules whose steps may join a run that did not plan them: they cure or fence, and take nothing away."""


def rules_for(view: View) -> tuple[Rule, ...]:
    """Return the rules that count now."""
    if view.restore is None:
        return () if view.target.abandon else RULES
    return ABANDON if view.restore.abandoned else RESTORE


def propose(target: Target, state: State) -> tuple[Rule | None, Step | Refusal | None]:
    """Return the first proposal for a settled state, with its rule; nothing when nothing is left to do."""
    view = View(target, state)
    for rule in rules_for(view):
        try:
            proposal = rule(view)
            if isinstance(proposal, Step):
                proposal.effects(state)  # What the step itself must know counts as well.
        except UnknownFact as fact:
            return rule, Refusal(
                "unobserved",
                fact.name,
                f"{fact.name} could not be observed: {fact.why}",
                "Make it observable and plan again. Nothing is done on a guess.",
                exit_code=8,
            )
        if proposal is not None:
            return _backed(view, rule, proposal)
    return None, None


def _backed(view: View, rule: Rule, proposal: Step | Refusal) -> tuple[Rule, Step | Refusal]:
    """Put a backup before what takes something away, but not before what only fences; a restore has its own rule."""
    if isinstance(proposal, Step) and proposal.destructive and view.restore is None and rule not in REPAIRS:
        first = backups.before_destruction(view)
        if first is not None:
            return backups.before_destruction, first
    return rule, proposal
