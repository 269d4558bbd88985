"""A restore: all that takes long first, then everything stops, then the new members prove themselves unseen.

Source: the document's chapter on restoring; etcd's page on disaster recovery.
"""

from collections.abc import Iterator
from dataclasses import replace

from etcdplan.diff.target import MemberTarget
from etcdplan.diff.unlisted import unlisted
from etcdplan.diff.view import View
from etcdplan.model.endpoints import named
from etcdplan.model.restore_effects import restored_data, stopped_for
from etcdplan.model.state import ETCD, Data, host_of
from etcdplan.planner.refusal import Refusal
from etcdplan.planner.rules import corruption
from etcdplan.planner.rules.api_servers import not_listed
from etcdplan.planner.rules.identity import data_moves, foreign_data, other_cluster
from etcdplan.steps.base import Step
from etcdplan.steps.restoring import (
    AbandonRestore,
    BeginRestore,
    ForgetRestore,
    HoldUnit,
    RestartUnits,
    StageRestored,
    SwapData,
    VerifyMembers,
)
from etcdplan.steps.run_etcd import RunEtcd
from etcdplan.steps.seal_host import SealHost


def hosts_answer(view: View) -> Refusal | None:
    """Hosts that do not answer."""
    known = dict.fromkeys((*view.target.hosts(), *sorted(view.former_hosts | view.former_server_hosts)))
    silent = [host for host in known if view.state.host(host).unreachable]
    members = [host for host in silent if host in view.target.member_hosts]
    silent = members or [host for host in silent if host not in view.restoring.gone]
    if not silent:
        return None
    reasons = "; ".join(f"{host}: {view.state.host(host).unreachable}" for host in silent)
    return Refusal(
        "host-unreachable",
        f"host/{silent[0]}",
        "A restore must reach every host of the spec, and those of former members and API servers, and not all answer "
        f"({reasons}): an API server that runs on would write what it remembers of the old cluster into the restored "
        "one.",
        "Bring the host back, or put another one in its place in the spec."
        if members
        else "Bring the host back. If it is gone for good and can never come back by itself, say so: "
        f"etcdplan restore SPEC NAME --host-gone {silent[0]}.",
        exit_code=8,
    )


def one_restore(view: View) -> Refusal | None:
    """Another restore than this one."""
    restore = view.restoring
    for address in view.target.hosts():
        record = None if view.absent_api_host(address) else view.state.host(address).record.get()
        if record is None:
            continue
        if record.cluster != view.target.cluster:
            return other_cluster(view, address, record)
        for other in (record.restore, view.target.restore):
            if other is not None and not restore.same(other):
                return Refusal(
                    "two-restores",
                    f"host/{address}",
                    f"A restore of {restore.snapshot} is under way, and another, of {other.snapshot}, is asked for.",
                    "Finish the one that is under way: etcdplan apply --resume SPEC.",
                )
    members = tuple((url, member.name) for url, member in sorted(view.target.members.items()))
    if members != restore.members:
        return Refusal(
            "spec-changed",
            "cluster",
            "A restore was begun with other members than the spec has now: "
            + ", ".join(f"{name} ({url})" for url, name in restore.members)
            + ".",
            "Finish it with the spec that it was begun with, then change the spec.",
        )
    return None


def nothing_foreign(view: View) -> Refusal | None:
    """Data of someone else."""
    for wanted in view.target.members.values():
        data = view.state.host(wanted.host).data.get()
        if data is not None and data.foreign and not data.damaged:
            return foreign_data(wanted, data.foreign)
    return _would_move(view)


def _would_move(view: View) -> Refusal | None:
    """Refuse data that would have to move: the restored ones go where they are, and etcd would be started elsewhere."""
    for wanted in _to_swap(view):
        host = view.state.host(wanted.host)
        used = host.data.get() is not None or host.etcd.process.get() is not None
        refusal = data_moves(view, wanted) if used else None
        if refusal is not None:
            remedy = (
                "Write the directories that it has into the spec. Or, if nobody needs what is there (a package may "
                "have started that etcd by itself), stop it and move its data away."
            )
            return replace(refusal, remedy=remedy)
    return None


def begin(view: View) -> Step | None:
    """Note the restore."""
    step = BeginRestore(view.target.cluster, view.restoring, view.target.hosts())
    if any(_knows_the_end(view, host) for host in view.target.hosts()):
        return None
    return step if step.effects(view.state) else None


def _knows_the_end(view: View, address: str) -> bool:
    """Whether the host's record is that of the new cluster already."""
    record = None if view.absent_api_host(address) else view.state.host(address).record.get()
    return record is not None and record.cluster_id == view.restoring.ids[0]


def stage(view: View) -> Step | None:
    """Restore the snapshot beside what is there."""
    for wanted in _to_swap(view):
        settings = _etcd(view, wanted, shut=True).settings
        step = StageRestored(wanted.name, wanted.host, wanted.peer_url, view.restoring, settings)
        if step.effects(view.state):
            return step
    return None


def _data(view: View, wanted: MemberTarget) -> Data:
    return restored_data(view.restoring, wanted.peer_url)


def _to_swap(view: View) -> Iterator[MemberTarget]:
    """Yield the members whose data are not the restored ones yet.

    Nobody after the members were compared: whoever loses its data then is replaced when the restore is done.
    """
    for wanted in () if view.restoring.verified else view.target.members.values():
        if view.state.host(wanted.host).data.get() != _data(view, wanted):
            yield wanted


def stop_api_servers(view: View) -> Step | Refusal | None:
    """Stop all API servers."""
    for address, name in sorted((server.host, server.unit) for server in view.api_servers):
        unit = view.state.host(address).unit(name)
        if unit.process.get() is not None or (unit.settings.get() is not None and not unit.held):
            return HoldUnit(address, name)
    # Of no other it is known that nothing of this cluster is behind its endpoints (loopback, a balancer, a name).
    for address, name, settings in unlisted(view.target, view.state):
        return not_listed(
            address, name, ", ".join(sorted(named(settings))) or "an etcd that its flags do not tell"
        )
    return None


def stop_members(view: View) -> Step | None:
    """Stop etcd everywhere."""
    waiting = view.target.member_hosts.keys() if any(_to_swap(view)) else ()
    for host in view.state.hosts.values():
        if host.unreachable:
            continue
        data = host.data.get()
        old = data is not None and data.cluster_id == view.restoring.replaces
        there = host.etcd.process.get() is not None or host.etcd.settings.get() is not None
        if there and (host.address in waiting or old):
            step = HoldUnit(host.address, ETCD)
            if step.effects(view.state):
                return step
    return None


def swap(view: View) -> Step | None:
    """Put the restored data in the place of the old."""
    for wanted in _to_swap(view):
        return SwapData(wanted.name, wanted.host, _data(view, wanted))
    return None


def start(view: View) -> Step | None:
    """Start the new members where only their own hosts reach them."""
    if view.restoring.verified:
        return None
    for wanted in view.target.members.values():
        step = _etcd(view, wanted, shut=True)
        if step.effects(view.state):
            return step
    return None


def _etcd(view: View, wanted: MemberTarget, *, shut: bool) -> RunEtcd:
    settings = {**wanted.settings, **(wanted.shut_in if shut else {})}
    initial = {"initial-advertise-peer-urls": wanted.peer_url, **view.restoring.initial_settings}
    return RunEtcd(wanted.name, wanted.host, wanted.peer_url, {**settings, **initial})


def verify(view: View) -> Step | Refusal | None:
    """Compare the new members."""
    if view.restoring.verified:
        return None
    for url, wanted in view.target.members.items():
        member = view.membership.members.get(url) if view.membership else None
        if member is None or not member.serving or member.id != _data(view, wanted).member_id:
            return Refusal(
                "does-not-serve",
                f"member/{wanted.name}",
                f"etcd of {wanted.name} on {wanted.host} runs on its restored data and does not serve.",
                "Read its log on the host, mend the cause, and go on with: etcdplan apply --resume SPEC.",
            )
    first = next(iter(view.target.members.values()))
    return VerifyMembers(view.target.cluster, view.restoring, first.host)


def take_alarm_back(view: View) -> Step | Refusal | None:
    """Take the alarm back that the snapshot has brought along."""
    # etcd keeps alarms in its database. Who holds other data than the others is replaced when the restore is done.
    if view.state.corruption is None or view.corrupt:
        return None
    return corruption.all_were_asked(view) or corruption.clear(view)


def let_clients_in(view: View) -> Step | None:
    """Let clients reach the new members."""
    steps = [
        step
        for wanted in view.target.members.values()
        if view.state.host(wanted.host).data.get() == _data(view, wanted)
        and (step := _etcd(view, wanted, shut=False)).effects(view.state)
    ]

    def turn(step: RunEtcd) -> tuple[bool, bool]:
        """One that is down comes first, so that no other is stopped beside it; the leader comes last."""
        return view.state.host(step.host).etcd.process.get() is not None, step.peer_url == view.state.leader

    return min(steps, key=turn, default=None)


def end(view: View) -> Step | Refusal | None:
    """Record the restored cluster on its hosts."""
    if (
        view.membership is None
        or not view.quorum.holds
        or view.membership.cluster_id != view.restoring.ids[0]
    ):
        return Refusal(
            "does-not-serve",
            "cluster",
            "The restored members were compared, and too few of them serve now.",
            "Read their logs, mend the cause, and go on with: etcdplan apply --resume SPEC.",
        )
    for host in view.target.hosts():
        if view.absent_api_host(host):
            continue
        step = SealHost(
            view.target.cluster, host, view.target.restart, view.restoring.gone, view.restoring.begins
        )
        if step.effects(view.state):
            return step
    return None


def restart_units(view: View) -> Step | None:
    """Restart what remembers the cluster as it was."""
    for host in view.target.hosts():
        record = None if view.absent_api_host(host) else view.state.host(host).record.get()
        if record is not None and record.restart:
            return RestartUnits(host, record.restart)
    return None


def nothing_was_stopped(view: View) -> Refusal | None:
    """A restore that has gone too far."""
    restore = view.restoring
    members = (host_of(url) for url, _ in restore.members)
    for address in dict.fromkeys((*view.target.hosts(), *members, *sorted(view.former_hosts))):
        host = view.state.host(address)
        if address in restore.gone and host.unreachable:
            continue
        # Who does not answer may have been stopped.
        if stopped_for(restore, host, host.data.get()):
            return Refusal(
                "too-late",
                f"host/{address}",
                f"etcd on {address} was stopped for the restore of {restore.snapshot} already, which cannot be taken "
                "back any more.",
                f"Finish it: etcdplan restore SPEC {restore.snapshot}. What was there before is kept beside the "
                "restored data.",
            )
    return None


def abandon(view: View) -> Step | None:
    """Note that there will be no restore."""
    step = AbandonRestore(view.restoring)
    return step if step.effects(view.state) else None


def forget(view: View) -> Step | None:
    """Take back what was prepared."""
    for address, host in sorted(view.state.hosts.items()):
        if not host.unreachable:
            step = ForgetRestore(address)
            if step.effects(view.state):
                return step
    return None
