"""What is down or hung with its own data is started; that takes nothing from anybody."""

from etcdplan.diff.view import View
from etcdplan.steps.base import Step


def start_members(view: View) -> Step | None:
    """Start members that are down."""
    if not view.born or view.listed is None:
        return None
    for url, wanted in view.target.members.items():
        member = view.listed.members.get(url)
        if member is None or member.serving or not member.started:
            continue
        host = view.state.host(wanted.host)
        data, process = host.data.get(), host.etcd.process.get()
        own = data is not None and data.cluster_id == view.cluster_id
        listed = data is not None and (view.state.membership.is_unknown or data.member_id == member.id)
        if not own or not listed or (host.etcd.failing and view.runs_as_wanted(wanted)):
            continue
        if process is None or process.hung:
            return view.etcd(wanted)
    return None
