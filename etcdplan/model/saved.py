"""State to JSON and back: `observe -o live.json`, `plan --live live.json`. Every bug report is a test case."""

import json
from typing import Any

from pydantic import TypeAdapter, ValidationError

from etcdplan.errors import EtcdplanError
from etcdplan.model.facts import ABSENT
from etcdplan.model.machine import UNMEASURED
from etcdplan.model.state import State

FORMAT_VERSION = "1.0"


class SavedStateError(EtcdplanError):
    """A saved state cannot be read."""


def dump_state(state: State) -> dict[str, Any]:
    """Return the state in JSON terms, with its format version."""
    saved: dict[str, Any] = TypeAdapter(State).dump_python(state, mode="json")
    if not state.backups:
        del saved["backups"]
    for store in saved.get("backups", {}).values():
        for backup in store["value"]["backups"] if store["value"] else ():
            del backup["taken"]  # It is of no other run.
    if state.corruption is None:
        del saved["corruption"]
    for address, host in saved["hosts"].items():
        if state.hosts[address].machine == UNMEASURED:
            del host["machine"]
        for name in ("staged", "job"):
            if getattr(state.hosts[address], name) == ABSENT:
                del host[name]
        if not state.hosts[address].strays:
            del host["strays"]
        _without_defaults(host)
        for unit in (host["etcd"], *host["api_servers"].values()):
            for name in ("drained", "missing", "armed", "rolled_back"):
                if not unit[name]:
                    del unit[name]  # So that older versions read it, too.
    return {"format_version": FORMAT_VERSION, "state": saved}


def _without_defaults(host: dict[str, Any]) -> None:
    """Leave out of data and record what older versions do not know, while it is not set."""
    for fact, names in (
        (host["data"], ("damaged",)),
        (host["record"], ("restore", "former", "restart", "gone", "began", "servers")),
    ):
        for name in names if fact["value"] is not None else ():
            if not fact["value"][name]:
                del fact["value"][name]


def load_state(content: bytes, name: str) -> State:
    """Read what `dump_state` gave, as JSON text; `name` is for messages. Raises `SavedStateError`."""
    try:
        body = json.loads(content)
        version = body["format_version"]
        if version != FORMAT_VERSION:
            raise SavedStateError(
                f"{name} has format {version!r}, this version of etcdplan knows {FORMAT_VERSION!r}.",
                hint="Observe again: etcdplan observe SPEC -o FILE.",
            )
        return TypeAdapter(State).validate_python(body["state"])
    except (ValueError, KeyError, TypeError, ValidationError):
        raise SavedStateError(
            f"{name} is not a saved state.", hint="Observe again: etcdplan observe SPEC -o FILE."
        ) from None
