"""A plan as a JSON document: safe to publish, bound to the spec and to what was seen.

`digest` is what a reviewer approves: kinds, subjects, parameters, preconditions and restarts of the steps, and the
spec's digest; no reasons, times, leaders or allocated IDs, so that the same plan made again compares equal, and none of
the steps that need no approval. `checksum` covers the whole document.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Literal, get_args

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, ValidationError, model_serializer

from etcdplan.diff.view import View
from etcdplan.errors import EtcdplanError, StaleError
from etcdplan.model.effects import SetDataAside
from etcdplan.model.quorum import Quorum
from etcdplan.model.state import Host, State, Unit
from etcdplan.planner.backup_checks import check_backups, cited
from etcdplan.planner.checks import Finding, check
from etcdplan.planner.unroll import Plan, PlannedStep
from etcdplan.spec.versions import Severity
from etcdplan.steps.take_backup import TakeBackup

FORMAT_VERSION: Final = "1.0"

UNASKED: Final = frozenset({TakeBackup.kind})
"""Kinds of steps that may join any run (`Step.unasked`): a plan is the same without them."""


class PlanFileError(EtcdplanError):
    """A plan file is damaged, was edited, or is of a format that this version does not know."""


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class ClusterEntry(_Document):
    """Which cluster the plan is for; `id` is hex, as etcdctl prints it."""

    name: str
    id: str


class ChangeEntry(_Document):
    """One difference between the spec and the live cluster."""

    address: str
    action: str
    before: str | None
    after: str | None
    reason: str


class RefusalEntry(_Document):
    """Why the plan cannot be carried out."""

    code: str
    subject: str
    message: str
    remedy: str
    exit_code: int


class FindingEntry(_Document):
    """What is unwise in the spec, or what hosts fall short of; nothing that was measured is part of the digest."""

    code: str
    severity: Severity
    address: str
    message: str
    remedy: str


class QuorumEntry(_Document):
    """The voters as predicted after the step, and the failures survived before, during (at worst) and after it."""

    voters: int
    healthy: int
    needed: int
    tolerates_before: int
    tolerates_during: int
    tolerates_after: int

    @property
    def dips(self) -> bool:
        """Whether the cluster survives less while the step is under way than before and after it."""
        return self.tolerates_during < min(self.tolerates_before, self.tolerates_after)


class StepEntry(_Document):
    """One step."""

    id: str
    kind: str
    subject: str
    params: dict[str, Any]
    preconditions: dict[str, Any]
    group: int
    heading: str
    summary: str
    reason: str
    destructive: bool
    restarts: list[str]
    quorum: QuorumEntry


class PlanDocument(_Document):
    """The whole plan. `facts` are the observed facts that it rests on, by address.

    `tolerates` is how many failures the cluster survives now; `spec_path` where the spec was when it was planned.
    """

    format_version: Literal["1.0"] = FORMAT_VERSION
    cluster: ClusterEntry
    spec_digest: str
    spec_path: str
    digest: str
    checksum: str
    tolerates: int
    changes: list[ChangeEntry]
    refusals: list[RefusalEntry]
    notes: list[str]
    findings: list[FindingEntry] = []
    """The worst first; not there at all when nothing was found."""
    steps: list[StepEntry]
    facts: dict[str, str]

    @model_serializer(mode="wrap")
    def _without_empty_findings(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        body: dict[str, Any] = handler(self)
        return body if self.findings else {key: value for key, value in body.items() if key != "findings"}


def canonical(value: Any) -> bytes:
    """Return sorted, compact JSON."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def sha256(value: Any) -> str:
    """Return `sha256:` and the hash of a value's canonical JSON."""
    return f"sha256:{hashlib.sha256(canonical(value)).hexdigest()}"


def to_document(
    plan: Plan, spec_digest: str, *, spec_path: str = "", advice: Iterable[Finding] = ()
) -> PlanDocument:
    """Write a plan down, with what was found on the hosts.

    `spec_path` says where its spec was, for `apply` to find it again; `advice` is about the spec itself.
    """
    cluster_id = View(plan.target, plan.state).cluster_id
    steps = [_step(plan, planned, f"{cluster_id:x}") for planned in plan.steps]
    body: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "cluster": {"name": plan.target.cluster, "id": f"{cluster_id:x}"},
        "spec_digest": spec_digest,
        "spec_path": spec_path,
        "digest": digest_of(spec_digest, steps),
        "tolerates": plan.steps[0].quorum[0].tolerates if plan.steps else -1,
        "changes": [
            {
                "address": c.address,
                "action": c.action,
                "before": c.before,
                "after": c.after,
                "reason": c.reason,
            }
            for c in plan.changes
        ],
        "refusals": [
            {
                "code": r.code,
                "subject": r.subject,
                "message": r.message,
                "remedy": r.remedy,
                "exit_code": r.exit_code,
            }
            for r in plan.refusals
        ],
        "notes": [*plan.notes, *cited(plan)],
        **_findings(
            [*advice, *check(plan.target, plan.observed), *check_backups(plan.target, plan.observed)]
        ),
        "steps": steps,
        "facts": dict(facts_of(plan.state)),
    }
    return PlanDocument.model_validate({**body, "checksum": sha256(body)})


def _findings(found: list[Finding]) -> dict[str, Any]:
    worst_first = sorted(found, key=lambda one: get_args(Severity).index(one.severity))
    entries = [
        {
            "code": one.code,
            "severity": one.severity,
            "address": one.address,
            "message": one.what,
            "remedy": one.remedy,
        }
        for one in worst_first
    ]
    return {"findings": entries} if entries else {}


def _step(plan: Plan, planned: PlannedStep, cluster_id: str) -> dict[str, Any]:
    step = planned.step
    before, after = planned.quorum
    return {
        "id": step.id,
        "kind": step.kind,
        "subject": step.subject,
        "params": dict(step.params()),
        "preconditions": {
            "cluster": cluster_id,
            **({"authority": plan.target.ca} if plan.target.ca else {}),
            "voters": before.voters,
            "healthy": before.healthy,
            **dict(_data_set_aside(planned)),
        },
        "group": planned.group,
        "heading": planned.heading,
        "summary": step.summary(),
        "reason": _reason(plan, planned),
        "destructive": step.destructive,
        "restarts": list(step.restarts(planned.before)),
        "quorum": _quorum(before, planned.tolerates_during, after),
    }


def _data_set_aside(planned: PlannedStep) -> Iterator[tuple[str, str]]:
    """Yield what lies where data is set aside: to approve that for an empty disk is not to approve it for data."""
    for effect in planned.step.effects(planned.before):
        if isinstance(effect, SetDataAside):
            yield "data", _data(planned.before.host(effect.host))


def _quorum(before: Quorum, during: int, after: Quorum) -> dict[str, int]:
    return {
        "voters": after.voters,
        "healthy": after.healthy,
        "needed": after.needed,
        "tolerates_before": before.tolerates,
        "tolerates_during": during,
        "tolerates_after": after.tolerates,
    }


def _reason(plan: Plan, planned: PlannedStep) -> str:
    """Return the reason of the change that the step is about, or what its rule is for."""
    subject = planned.step.subject
    reasons = (c.reason for c in plan.changes if c.address == subject or c.address.startswith(f"{subject}/"))
    return next(reasons, planned.heading[:1].lower() + planned.heading[1:])


def digest_of(spec_digest: str, steps: list[dict[str, Any]]) -> str:
    """Return the digest of a plan; within a group the order of steps may follow the leader, so it does not count."""
    keys = ("id", "kind", "subject", "params", "preconditions", "restarts", "group")
    counted = ({key: step[key] for key in keys} for step in steps if step["kind"] not in UNASKED)
    approved = sorted(counted, key=lambda s: (s["group"], s["id"]))
    return sha256({"spec": spec_digest, "steps": approved})


def facts_of(state: State) -> Iterator[tuple[str, str]]:
    """Yield what a plan relies on, by address, without what may change by itself (leader, IDs, times)."""
    membership = state.membership
    if membership.is_unknown:
        yield "members", f"unknown: {membership.why}"
    for url, member in (membership.value.members if membership.value else {}).items():
        role = "learner" if member.learner else "voter"
        serving = "serves" if member.serving else "does not serve" if member.started else "not started"
        yield f"member/{url}", f"{member.name or '-'}, {role}, {serving}"
    for host in state.hosts.values():
        yield from _host_facts(host)


def _host_facts(host: Host) -> Iterator[tuple[str, str]]:
    address = f"host/{host.address}"
    if host.unreachable:
        yield address, f"unreachable: {host.unreachable}"
        return
    yield from _unit_facts(f"{address}/etcd", host.etcd)
    for name, unit in host.api_servers.items():
        yield from _unit_facts(f"{address}/apiserver/{name}", unit)
    if host.full:
        yield f"{address}/disk", "full"
    yield f"{address}/data", _data(host)
    for name, leaf in host.leafs.items():
        pair = leaf.value
        yield (
            f"{address}/certificate/{name}",
            "none" if pair is None else f"{','.join(pair.sans)} by {pair.issuer[:16] or 'another CA'}",
        )


def _data(host: Host) -> str:
    if host.data.is_unknown:
        return "unknown"
    data = host.data.value
    return "none" if data is None else data.foreign or f"{data.cluster_id:x}"


def _unit_facts(address: str, unit: Unit) -> Iterator[tuple[str, str]]:
    settings, process = unit.settings, unit.process
    yield f"{address}/settings", "unknown" if settings.is_unknown else _fingerprint(settings.value)
    running = process.value
    yield (
        f"{address}/process",
        "unknown"
        if process.is_unknown
        else "down"
        if running is None
        else f"{'hung' if running.hung else 'runs'} with {_fingerprint(running.settings)}",
    )
    if unit.held or unit.failing:
        yield f"{address}/kept", "held" if unit.held else "failing"


def _fingerprint(settings: Mapping[str, str] | None) -> str:
    return "none" if settings is None else hashlib.sha256(canonical(dict(settings))).hexdigest()[:16]


def dump(document: PlanDocument) -> bytes:
    """Return the document as indented JSON, ending in a newline."""
    return json.dumps(document.model_dump(), indent=2, ensure_ascii=False).encode() + b"\n"


def parse(content: bytes, name: str) -> PlanDocument:
    """Read a plan file; `name` is for messages. Raises `PlanFileError` for anything that `dump` did not write.

    One that is whole and not what was written raises `StaleError`: it is not what was approved.
    """
    again = "Make the plan again: etcdplan plan SPEC --out FILE."
    try:
        body = json.loads(content)
    except ValueError as error:
        raise PlanFileError(f"{name} is not a whole plan file: {error}.", hint=again) from None
    if not isinstance(body, dict):
        raise PlanFileError(f"{name} is not a plan file.", hint=again)
    version = body.get("format_version")
    if version != FORMAT_VERSION:
        raise PlanFileError(
            f"{name} has plan format {version!r}; this version of etcdplan knows {FORMAT_VERSION!r}.",
            hint="Use the version of etcdplan that made it, or make the plan again.",
        )
    try:
        document = PlanDocument.model_validate(body)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise PlanFileError(
            f"{name} is not a valid plan file: {place}: {first['msg']}.", hint=again
        ) from None
    rest = {key: value for key, value in body.items() if key != "checksum"}
    if sha256(rest) != document.checksum:
        raise StaleError(
            f"{name} was changed or damaged after it was written: its checksum differs.", hint=again
        )
    if digest_of(document.spec_digest, rest["steps"]) != document.digest:
        raise StaleError(f"{name} was edited: its steps do not have the digest that it names.", hint=again)
    return document
