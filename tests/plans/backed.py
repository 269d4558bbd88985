"""Plans of a cluster with a policy for backups: what is taken away rests on one."""

from dataclasses import replace
from typing import Any

from etcdplan.model.backups import Backup, Store
from etcdplan.model.effects import WriteRecord
from etcdplan.model.facts import Fact, known, unknown
from etcdplan.model.state import State
from tests.plans.clusters import api_servers, disk_gone, down, happened, members, running, silent, spec_of
from tests.plans.registry import STACKED, THREE, Case, case
from tests.plans.restoring import _request as request

HOUR = 3600
HERE, THERE = "/mnt/backups/prod", "s3://backups/prod"


def backed(spec: dict[str, Any], **policy: Any) -> dict[str, Any]:
    """Return the spec with a policy for backups."""
    said = {
        "destinations": [HERE, THERE],
        "encryption": {
            "recipients": [f"age1{'q' * 58}", f"age1{'p' * 58}"],
            "signingKey": "keys/backup.ed25519.age",
            "trustedKeys": ["keys/backup.ed25519.pub"],
        },
        "maxAge": "2h",
        **policy,
    }
    return {**spec, "spec": {**spec["spec"], "backup": said}}


def store(state: State, *ages: int, verified: str = "restore", distrusted: str = "") -> Fact[Store]:
    """Return what a destination has: backups of these ages, in seconds."""
    membership = state.membership.value
    cluster_id = membership.cluster_id if membership else 0
    times = tuple(state.now - age for age in ages)
    read = (Backup(f"prod-{time}", cluster_id, time, 7_418_231, 1 << 26, verified) for time in times)
    return known(Store(tuple(read), times, distrusted))


def with_stores(state: State, here: Fact[Store], there: Fact[Store] | None = None) -> State:
    """Return the state with what the two destinations have, the same by default."""
    return replace(state, backups={HERE: here, THERE: there or here})


@case
def backup_is_cited() -> Case:
    """A member's disk is gone, and there is a backup that is young enough."""
    spec = backed(THREE)
    state = running(spec)
    return spec, disk_gone(with_stores(state, store(state, HOUR)), "10.0.0.2")


@case
def backup_comes_first() -> Case:
    """A member's disk is gone, and the newest backup is a day old; the bucket does not answer."""
    spec = backed(THREE)
    state = running(spec)
    gone = unknown(f"backup/{THERE}", "no answer within 5 s")
    return spec, disk_gone(with_stores(state, store(state, 24 * HOUR), gone), "10.0.0.2")


@case
def backup_before_members_leave() -> Case:
    """Three members become one, and the only backups were not restored; no destination was looked at before."""
    before, after = backed(THREE), backed(spec_of(members(1), api_servers(3), allow_outage=True))
    return after, running(before, after)


@case
def backup_not_needed_for_cures() -> Case:
    """A member is down, and there never was a backup: starting it takes nothing away."""
    spec = backed(STACKED)
    state = running(spec)
    return spec, down(with_stores(state, known(Store())), "10.0.0.2")


@case
def backup_before_a_restore() -> Case:
    """A restore was begun while the cluster serves, and the snapshot that is restored is itself only minutes old."""
    spec = backed(THREE)
    state = running(spec)
    asked = request()
    young = Backup(asked.snapshot, asked.replaces, state.now - 120, 7_418_231, 1 << 26, "restore")
    record = state.host("10.0.0.1").record.get()
    assert record is not None
    begun = happened(state, WriteRecord("10.0.0.1", replace(record, restore=asked)))
    return spec, with_stores(begun, known(Store((young,), (young.time,))))


@case
def backups_fall_short() -> Case:
    """Nothing is to be done, and hardly anything of the policy is met."""
    policy = {"retention": {"last": 2}, "maxTrialAge": "7d"}
    spec = backed(THREE, **policy)
    state = running(spec)
    here = store(state, *(n * HOUR for n in range(1, 9)), verified="checksum")
    there = store(
        state, 30 * HOUR, distrusted="The manifest of prod-1 at there is not signed by a trusted key."
    )
    return spec, with_stores(state, here, there)


def _by_themselves(*hosts: str, spec: dict[str, Any] = THREE) -> dict[str, Any]:
    """Return the spec with hosts that take backups, to where all of them can bring them."""
    return backed(spec, hosts=list(hosts), schedule="*/30 * * * *", destinations=[THERE])


@case
def backup_hosts_are_set_up() -> Case:
    """A member shall take backups by itself, and a host beside the cluster after it; a flag changes, too."""
    changed = spec_of(members(1, 2, 3), api_servers(3), extraArgs={"max-txn-ops": "256"})
    spec = _by_themselves("10.0.0.1", "10.0.2.1", spec=changed)
    state = running(backed(THREE), spec)
    return spec, with_stores(state, store(state, HOUR))


@case
def backup_hosts_differ() -> Case:
    """One lost its timer's file, one has another version of etcdplan, and its keys are not in the spec."""
    spec = _by_themselves("10.0.0.1", "10.0.2.1")
    state = running(spec)
    for address, program in (("10.0.0.1", ""), ("10.0.2.1", "/opt/etcdplan/etcdplan-0.0.9")):
        host = state.host(address)
        job = host.job.get()
        assert job is not None
        units = {path: digest for path, digest in job.files.items() if program or not path.endswith("timer")}
        changed = replace(job, files=units, program=program or job.program, waits=bool(program))
        signer = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n-----END PUBLIC KEY-----\n"
        state = state.with_host(replace(host, job=known(replace(changed, signer=signer, recipient="age1"))))
    return spec, with_stores(state, store(state, HOUR))


@case
def backup_host_leaves() -> Case:
    """A host beside the cluster shall no longer take backups, and a member that shall is silent in the middle of it."""
    state = running(_by_themselves("10.0.2.1", "10.0.2.2"))
    spec = _by_themselves("10.0.2.2")
    return spec, silent(with_stores(state, store(state, HOUR)), "10.0.2.2")


@case
def refused_quorum_lost_with_backups() -> Case:
    """Two disks of three are gone, and the newest backup is an hour old."""
    spec = backed(THREE)
    state = running(spec)
    return spec, disk_gone(with_stores(state, store(state, HOUR)), "10.0.0.2", "10.0.0.3")
