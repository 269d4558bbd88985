"""A host's record of its cluster, as bytes."""

import json
from dataclasses import asdict
from functools import cache
from typing import Any

from pydantic import TypeAdapter

from etcdplan.model.restore import Restore
from etcdplan.model.state import Member, Record


@cache
def _restore() -> TypeAdapter[Restore]:
    """Made once: every look at a host during a restore needs it."""
    return TypeAdapter(Restore)


def encode_record(record: Record, *, written: str) -> bytes:
    """Write a record; `written` is a time for people and for telling the newest one."""
    members = [
        {
            "id": member.id,
            "name": member.name,
            "peer_url": member.peer_url,
            "client_urls": list(member.client_urls),
            "learner": member.learner,
        }
        for member in record.members.values()
    ]
    body = {
        "cluster": record.cluster,
        "cluster_id": record.cluster_id,
        "hosts": list(record.hosts),
        "members": members,
        "time": written,
    }
    if record.restore is not None:
        body["restore"] = asdict(record.restore)
    for name in ("former", "restart", "gone", "servers"):
        if listed := getattr(record, name):
            body[name] = list(listed)
    if record.began:
        body["began"] = record.began
    return json.dumps(body, indent=1, sort_keys=True).encode() + b"\n"


def decode_record(content: bytes) -> tuple[Record, str]:
    """Read a record and its time; raise `ValueError` when it is damaged."""
    try:
        body: dict[str, Any] = json.loads(content)
        members = {
            entry["peer_url"]: Member(
                int(entry["id"]),
                str(entry["name"]),
                str(entry["peer_url"]),
                tuple(entry["client_urls"]),
                learner=bool(entry["learner"]),
                serving=False,
            )
            for entry in body["members"]
        }
        restore = body.get("restore")
        record = Record(
            str(body["cluster"]),
            int(body["cluster_id"]),
            tuple(body["hosts"]),
            members,
            _restore().validate_python(restore) if restore is not None else None,
            tuple(int(former) for former in body.get("former", ())),
            tuple(str(unit) for unit in body.get("restart", ())),
            tuple(str(host) for host in body.get("gone", ())),
            int(body.get("began", 0)),
            tuple(str(host) for host in body.get("servers", ())),
        )
        return record, str(body["time"])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"the record is damaged ({type(error).__name__}: {error})") from None
