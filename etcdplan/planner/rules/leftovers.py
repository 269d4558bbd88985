"""What removed members leave behind is fenced, and its data kept under another name."""

from etcdplan.diff.view import View
from etcdplan.steps.base import Step
from etcdplan.steps.retire_etcd import RetireEtcd


def retire_removed(view: View) -> Step | None:
    """Take removed members out of service."""
    for host in view.leftovers():
        settings = host.etcd.settings.get() or {}
        forget = host.address not in view.target.hosts()
        return RetireEtcd(settings.get("name", "a removed member"), host.address, forget=forget)
    return None
