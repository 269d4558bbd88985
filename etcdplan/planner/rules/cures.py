"""What is down or hung with its own data is started; that takes nothing from anybody."""

from etcdplan.diff.target import MemberTarget
from etcdplan.diff.view import View
from etcdplan.planner.refusal import Refusal
from etcdplan.steps.base import Step


def start_members(view: View) -> Step | Refusal | None:
    """Start members that are down."""
    if not view.born or view.listed is None:
        return None
    for url, wanted in view.target.members.items():
        member = view.listed.members.get(url)
        if member is None or member.serving or not member.started or member in view.corrupt:
            continue
        host = view.state.host(wanted.host)
        data, process = host.data.get(), host.etcd.process.get()
        own = data is not None and data.cluster_id == view.cluster_id
        listed = data is not None and (view.state.membership.is_unknown or data.member_id == member.id)
        if not own or not listed:
            continue
        if host.etcd.failing and view.runs_as_wanted(wanted):
            if host.full:
                return _full(
                    wanted,
                    f"etcd of {wanted.name} on {wanted.host} ends again and again, and no space",
                    "start it, and plan again. Its data is good as far as can be seen; it is not replaced.",
                )
            asked = view.state.membership.value is not None and view.quorum.holds
            if asked and not view.settings_work(wanted):
                return _bad_settings(wanted)
            continue
        if process is None or process.hung:
            return view.etcd(wanted)
    return None


def room_for_data(view: View) -> Refusal | None:
    """Hosts without room for the data of a new member."""
    for url, wanted in view.target.members.items():
        host = view.state.host(wanted.host)
        member = view.listed.members.get(url) if view.listed else None
        data = host.data.get()
        comes = data is None or (member is not None and not member.serving and data.member_id != member.id)
        if host.full and comes:
            return _full(
                wanted, f"{wanted.name} shall come to {wanted.host}, and no space", "and plan again."
            )
    return None


def _bad_settings(wanted: MemberTarget) -> Refusal:
    return Refusal(
        "does-not-start",
        f"member/{wanted.name}",
        f"etcd of {wanted.name} on {wanted.host} ends again and again with the settings of the spec, and no other "
        "member runs with these.",
        "Read its log there. When it names a flag that etcd does not take, say, correct the spec, then plan and apply "
        "it: its data is kept. When it is the data, plan with the settings that the other members run with: then this "
        "member is replaced.",
    )


def _full(wanted: MemberTarget, who: str, then: str) -> Refusal:
    return Refusal(
        "disk-full",
        f"member/{wanted.name}",
        f"{who} is left for its data ({wanted.settings['data-dir']}).",
        f"Make room there, {then}",
    )
