"""Laws that every plan obeys. A law yields, in plain words, how a case breaks it."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from etcdplan.diff.changes import diff
from etcdplan.diff.view import View
from etcdplan.model.effects import Stop
from etcdplan.model.settle import settle
from etcdplan.model.state import ETCD, State, steady
from etcdplan.planner.document import to_document
from etcdplan.planner.policy import propose
from etcdplan.planner.rules.backups import LAST
from etcdplan.planner.unroll import Plan, unroll
from tests.support.generators import hide
from tests.support.model_world import World, follow
from tests.unit.planner.checker import Checker
from tests.unit.planner.law_case import Case
from tests.unit.planner.perturbations import other_ids, other_leader, other_order

DESTRUCTIVE = ("remove-member", "retire-etcd")


def ends_well(case: Case) -> Iterator[str]:
    """A plan ends with nothing left to do, or is refused by a guard; a proof that fails is a bug."""
    for refusal in case.plan.refusals:
        if refusal.code in ("unproven", "no-way"):
            yield f"{refusal.code}: {refusal.message}"
    if not case.refused and (rest := diff(case.target, case.end)):
        yield f"still to do at the end: {rest[0].address}"


def nothing_after_it(case: Case) -> Iterator[str]:
    """Planned again after it was carried out, nothing is left: not in the model's eyes, not when looked at."""
    if case.refused:
        return
    for state in (case.end, _look(case, case.end)):
        again = unroll(case.target, state)
        if again.steps or again.refusals or again.changes:
            yield f"a second plan has {_signature(again)[:3]} {again.changes[:1]}"


def diff_is_what_rules_propose(case: Case) -> Iterator[str]:
    """The diff is empty exactly when no rule proposes anything."""
    for state in (case.plan.state, *(planned.after for planned in case.plan.steps)):
        empty, (_, proposal) = not diff(case.target, state), propose(case.target, state)
        if empty != (proposal is None):
            yield f"the diff is {'' if empty else 'not '}empty and the policy proposes {proposal}"


def transitions(case: Case) -> Iterator[str]:
    """No effect breaks an invariant."""
    if not case.refused:
        yield from check(Checker(case.target, case.plan.state), case.plan)


def check(checker: Checker, plan: Plan) -> Iterator[str]:
    """Let the independent checker see every effect of a plan."""
    for planned in plan.steps:
        before = planned.before
        for effect in planned.step.effects(before):
            after = effect.apply(before)
            for problem in checker.see(effect, before, after):
                yield f"{planned.step.id}: {problem}"
            before = after


def frugal(case: Case) -> Iterator[str]:
    """Nothing twice, nothing that is not needed."""
    if case.refused:
        return
    steps = [planned.step for planned in case.plan.steps]
    for step_id, times in Counter(step.id for step in steps if not step.renewable).items():
        if times > 1 + case.restores:
            yield f"{step_id} comes {times} times"
    stops: Counter[tuple[str, bool]] = Counter()
    for planned in case.plan.steps:
        for effect in planned.step.effects(planned.before):
            if isinstance(effect, Stop):
                stops[
                    effect.host if effect.unit == ETCD else f"{effect.host} {effect.unit}",
                    effect.unit == ETCD,
                ] += 1
    removals = sum(step.kind == "remove-member" for step in steps)
    for (unit, is_etcd), times in stops.items():
        # One that hangs behind closed doors after a restore is restarted, and once more to let clients in.
        if times > (1 + case.restores if is_etcd else 2 + removals):
            yield f"{unit} is restarted {times} times"


def backed(case: Case) -> Iterator[str]:
    """What takes something away rests on a backup that is young enough, wherever the spec asks for backups."""
    for planned in case.plan.steps:
        view, policy = View(case.target, planned.before), case.target.backup
        taken = planned.step.kind == "take-backup"
        if policy is None:
            if taken:
                yield f"{planned.step.id} although no policy asks for it"
            continue
        if (restore := view.restore) is not None:
            membership = planned.before.membership.value
            unclear = planned.before.corruption is not None and view.right is None
            replaced = membership is not None and membership.cluster_id == restore.replaces
            if not replaced or unclear or not view.quorum.holds:
                if taken:
                    yield f"{planned.step.id} although nobody can give a snapshot"
                continue
            last = any(
                one.name != restore.snapshot and one.cluster_id == restore.replaces
                for fact in planned.before.backups.values()
                for one in (fact.value.backups if fact.value else ())
                if planned.before.now - one.time <= LAST
            )
            if planned.step.kind == "hold-unit" and planned.step.params()["unit"] == ETCD and not last:
                yield f"{planned.step.id} without a last backup"
            continue
        times = [
            one.time
            for place in policy.destinations
            if (fact := planned.before.backups.get(place)) is not None and fact.value is not None
            for one in fact.value.backups
            if one.cluster_id == view.cluster_id and one.verified == "restore"
        ]
        fresh = any(planned.before.now - time <= (policy.max_age or 0) for time in times)
        fences = planned.step.kind == "retire-etcd" and planned.repair
        if planned.step.kind in DESTRUCTIVE and view.born and view.quorum.holds and not fences and not fresh:
            yield f"{planned.step.id} rests on no backup"
        if taken and fresh:
            yield f"{planned.step.id} although there is one"


def followed(case: Case) -> Iterator[str]:
    """The policy, carried out on the truth with a look before each step, ends where the plan says."""
    state = case.pair.state
    if (
        case.refused
        or case.pair.hidden
        or (state.membership.value is None and case.pair.world.state.membership.value)
    ):
        return  # It was planned from less than the truth.
    data = {host.data.value.cluster_id for host in case.pair.world.state.hosts.values() if host.data.value}
    if case.end.membership.value and data - {case.end.membership.value.cluster_id}:
        return  # The truth knows the members of one cluster only.
    world = World(case.pair.world.state, dict(case.pair.world.written))
    cut = follow(world, case.target)
    if cut is not None:
        yield f"it stops in {cut.id}"
    if found := difference(settle(world.look(case.target)), case.end):
        yield f"it ends elsewhere: {found}"


def cuts(case: Case, most: int = 2) -> Iterator[str]:
    """Cut after any effect, a new plan is not refused, keeps the invariants, and ends where the first would have."""
    if case.refused:
        return
    places = [
        (index, place)
        for index, planned in enumerate(case.plan.steps)
        for place in range(1, len(planned.step.effects(planned.before)) + 1)
    ]
    for index, place in case.rng("cuts").sample(places, min(most, len(places))):
        yield from _cut(case, index, place)


def _cut(case: Case, index: int, place: int) -> Iterator[str]:
    checker = Checker(case.target, case.plan.state)
    world = World(case.plan.state, dict(case.pair.world.written))
    world.remember(case.target)
    for planned in case.plan.steps[: index + 1]:
        effects = planned.step.effects(world.state)
        for effect in effects[:place] if planned is case.plan.steps[index] else effects:
            before = world.state
            world.do(effect)
            list(checker.see(effect, before, world.state))
        if planned is not case.plan.steps[index]:
            world.state = settle(world.state)
            if planned.step.kind.endswith("-member"):
                world.remember(case.target)
    planned = case.plan.steps[index]
    where = f"cut in {planned.step.id} after {place}"
    for name, cut in (("", world.state), (" and looked at", world.look(case.target))):
        rest = unroll(case.target, cut)
        if rest.refusals:
            yield f"{where}{name}: {rest.refusals[0].code}: {rest.refusals[0].message}"
            continue
        memory = replace(checker, down_etcds=set(checker.down_etcds), down_servers=set(checker.down_servers))
        for problem in check(memory, rest):
            yield f"{where}{name}: {problem}"
        end = rest.steps[-1].after if rest.steps else rest.state
        if found := difference(end, case.end):
            yield f"{where}{name}: ends elsewhere: {found}"


def perturbed(case: Case) -> Iterator[str]:
    """Another leader, other IDs, or in another order: the same digest. One of them a case, since each plans anew."""
    change = case.rng("perturbed").choice((other_leader, other_ids, other_order))
    state = change(case)
    if state is None:
        return
    plan = unroll(case.target, state)
    if to_document(plan, "spec").digest != to_document(case.plan, "spec").digest:
        yield f"{change.__name__}: {_sequences(case.plan, plan)}"


def later(case: Case) -> Iterator[str]:
    """Minutes, weeks or a year later it is the same plan, but for certificates that are due by then."""
    seconds = case.rng("later").choice((300, 86_400 * 20, 86_400 * 365))
    state = replace(case.pair.state, now=case.pair.state.now + seconds)
    plan = unroll(case.target, state)
    if any(host.etcd.failing for host in state.hosts.values()):
        return  # An etcd that kept failing gets another try when its certificates are renewed.
    if any(refusal.code == "clocks-differ" for refusal in plan.refusals):
        return  # Certificates that are due by then are not issued by a wrong clock.
    if _signature(plan, certificates=False) != _signature(case.plan, certificates=False):
        yield _sequences(case.plan, plan)


def hidden(case: Case, most: int = 2) -> Iterator[str]:
    """What cannot be seen brings no destructive step, and either does not matter or is named in a refusal."""
    ways = list(hide(case.pair.state))
    for name, state in case.rng("hidden").sample(ways, min(most, len(ways))):
        yield from hidden_fact(case, name, state)


def hidden_fact(case: Case, name: str, state: State) -> Iterator[str]:
    """Judge the plan that is made without one fact."""
    blind = unroll(case.target, state)
    codes = [refusal.code for refusal in blind.refusals]
    if any(code in ("unproven", "no-way") for code in codes):
        yield f"without {name}: {blind.refusals[0].message}"
    if name == "members":
        # Hosts remember the members; what is planned on that may cure, until the cluster itself has answered.
        for planned in blind.steps:
            if planned.before.membership.is_unknown and planned.step.kind in DESTRUCTIVE:
                yield f"without {name}: {planned.step.id} comes before they are known"
        return
    if not codes:
        had = {planned.step.id for planned in case.plan.steps}
        for planned in blind.steps:
            if planned.step.kind in DESTRUCTIVE and (case.refused or planned.step.id not in had):
                yield f"without {name}: {planned.step.id} appears"
        if not blind.steps and (case.plan.steps or case.refused):
            yield f"without {name}: no changes"
    named = [r for r in blind.refusals if r.exit_code == 8 and (r.subject == name or case.pair.hidden)]
    if not named and _signature(blind) != _signature(case.plan):
        yield f"without {name} the plan is another one: {_sequences(case.plan, blind)}"


def _look(case: Case, state: State) -> State:
    world = World(state, dict(case.pair.world.written))
    return world.look(case.target)


def _signature(plan: Plan, *, certificates: bool = True) -> list[str]:
    if plan.refusals:
        return [f"refused: {plan.refusals[0].code}"]
    steps = (
        planned
        for planned in plan.steps
        if not planned.step.unasked and (certificates or planned.step.kind != "certificate")
    )
    return [
        planned.step.id for planned in sorted(steps, key=lambda planned: (planned.group, planned.step.id))
    ]


def _sequences(one: Plan, other: Plan) -> str:
    first, second = _signature(one), _signature(other)
    both = min(len(first), len(second))
    index = next((i for i in range(both) if first[i] != second[i]), both)
    return f"{first[index : index + 2]} became {second[index : index + 2]}"


def normal(state: State) -> dict[str, Any]:
    """Return a state without what the cluster chose: IDs and leader; and without what no running process reads."""
    membership = state.membership.value
    urls = {m.id: url for url, m in membership.members.items()} if membership else {}
    found: dict[str, Any] = {
        f"member/{url}": (m.name, m.client_urls, m.learner, m.serving)
        for url, m in (membership.members if membership else {}).items()
    }
    for address, host in state.hosts.items():
        found[f"{address}/data"] = host.data.value and (
            urls.get(host.data.value.member_id, "-"),
            host.data.value.foreign,
        )
        found[f"{address}/rest"] = (
            {name: leaf for name, leaf in host.leafs.items() if leaf.value},
            host.trust,
            host.record.value and host.record.value.cluster,
            host.unreachable,
        )
        for name, unit in {ETCD: host.etcd, **host.api_servers}.items():
            settings, process = unit.settings.value, unit.process.value
            if settings is None and process is None and not unit.held:
                continue
            found[f"{address}/{name}"] = (
                settings and steady(settings),
                settings and settings.get("initial-cluster-state"),
                process and (steady(process.settings), process.answering, process.hung),
                unit.held,
            )
    return found


def difference(state: State, wanted: State) -> str:
    """Return how two ends differ, on the hosts that were looked at for both."""
    one, other = normal(state), normal(wanted)
    both = state.hosts.keys() & wanted.hosts.keys()
    for key in {**one, **other}:
        if (key.startswith("member/") or key.split("/")[0] in both) and one.get(key) != other.get(key):
            return f"{key}: {one.get(key)} instead of {other.get(key)}"
    return ""


LAWS: tuple[Callable[[Case], Iterator[str]], ...] = (
    ends_well,
    nothing_after_it,
    diff_is_what_rules_propose,
    transitions,
    frugal,
    backed,
    followed,
    cuts,
    perturbed,
    later,
    hidden,
)
