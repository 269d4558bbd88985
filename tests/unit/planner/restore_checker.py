"""What no effect may do while a snapshot is being restored, written a second time from the document's chapter on it.

It shares nothing with `etcdplan.planner.restore_invariants`.
"""

from collections.abc import Iterator

from etcdplan.diff.target import Target
from etcdplan.model import effects as e
from etcdplan.model import restore_effects as r
from etcdplan.model.restore import Restore
from etcdplan.model.state import ETCD, State


def under_way(target: Target, state: State) -> Restore | None:
    """Return the restore that some host of the spec knows of, or is asked for and not done."""
    records = [state.hosts[a].record.value for a in target.hosts() if a in state.hosts]
    known = [record.restore for record in records if record and record.restore]
    if known:
        return next((one for one in known if one.verified), known[0])
    asked = target.restore
    if asked is None or any(record and record.cluster_id == asked.ids[0] for record in records):
        return None
    return asked


def see(target: Target, restore: Restore, effect: e.Effect, before: State) -> Iterator[str]:
    """Yield what one effect breaks."""
    homes = {member.host for member in target.members.values()}
    ended = {
        a
        for a in target.hosts()
        if (rec := before.hosts[a].record.value) and rec.cluster_id == restore.ids[0]
    }
    unaware = [
        a
        for a in target.hosts()
        if a not in ended and not ((rec := before.hosts[a].record.value) and rec.restore)
    ]
    api_servers = [
        server.name
        for server in target.api_servers.values()
        if before.hosts[server.host].unit(server.unit).process.value is not None
    ]
    old_etcds = [
        a
        for a in homes
        if before.hosts[a].etcd.process.value is not None
        and before.hosts[a].data.value is not None
        and before.hosts[a].data.value.cluster_id == restore.replaces
    ]
    compared = restore.verified or bool(ended)
    match effect:
        case e.Hold(unit=unit) | e.Stop(unit=unit):
            if unaware:
                yield f"something is stopped while {unaware} know nothing of the restore"
            if unit == ETCD and api_servers:
                yield f"etcd is stopped under the API servers {api_servers}"
            ready = all(
                any(
                    fact.value is not None and fact.value.cluster_id == restore.ids[0]
                    for fact in (before.hosts[a].staged, before.hosts[a].data)
                )
                for a in homes
            )
            if unit == ETCD and not ready and not compared:
                yield "etcd is stopped before all restored data lies ready"
        case e.SetDataAside(host=address):
            data = before.hosts[address].data.value
            if data is not None and data.cluster_id == restore.ids[0]:
                yield f"the restored data on {address} is set aside"
            if old_etcds or api_servers:
                yield f"data is moved while {old_etcds or api_servers} run"
        case e.Start(host=address, unit=unit) if unit == ETCD:
            if old_etcds or api_servers:
                yield f"a restored etcd starts beside {old_etcds or api_servers}"
            data = before.hosts[address].data.value
            if data is None or data.cluster_id != restore.ids[0]:
                yield f"etcd on {address} starts on what was not restored"
        case e.Start(unit=unit):
            yield f"{unit} starts before the restore is done"
        case r.VerifyRestored():
            members = before.membership.value.members.values() if before.membership.value else ()
            if not members or not all(member.serving for member in members):
                yield "members are compared that do not all serve"
        case e.AddLearner() | e.Promote() | e.Remove():
            yield "members change during a restore"
        case _:
            pass
