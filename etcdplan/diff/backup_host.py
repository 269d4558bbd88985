"""What a backup host must have: etcdplan, a spec of its own with what that names, and a timer. Pure text."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from etcdplan import __version__
from etcdplan.diff.backup_units import ScheduledBackup, service, timer
from etcdplan.model.backup_job import ETCDPLAN_PLACE
from etcdplan.spec.load import normalised
from etcdplan.spec.models import Spec
from etcdplan.spec.schedule import parse

BACKUP_USER: Final = "etcdplan-backup"
"""Who takes backups on a host; its home is /var/lib/etcdplan-backup."""
BACKUP_UNIT: Final = "etcdplan-backup"
JOB: Final = "/etc/etcdplan/backup"
"""Where the files of a job are, and its keys in `keys`."""
UNITS: Final = "/etc/systemd/system"
_EXTRAS: Final = {"s3": "s3", "gs": "gcs", "az": "azure"}
"""What etcdplan must be installed with for a destination, by its scheme."""


@dataclass(frozen=True, slots=True)
class JobTarget:
    """A job as it must be. `files` are texts by path, `directories` what it must be able to write to."""

    program: str
    extras: tuple[str, ...]
    files: Mapping[str, str]
    directories: tuple[str, ...]


def job(
    spec: Spec, number: int, trusted_keys: Sequence[str], *, pki: tuple[str, str, str], etcd: str
) -> JobTarget:
    """Return the job of the backup host with a number, which counts from 0.

    `pki` are the paths of CA certificate, client certificate and its key there, `etcd` that of etcd's program if it
    comes from the spec's archive.
    """
    policy = spec.spec.backup
    if policy is None or policy.schedule is None:
        raise LookupError("no backup is ever due")
    schemes = {place.partition("://")[0] for place in policy.destinations if "://" in place}
    extras = tuple(sorted(_EXTRAS[scheme] for scheme in schemes & _EXTRAS.keys()))
    program = f"{ETCDPLAN_PLACE}/etcdplan-{'+'.join((__version__, *extras))}"
    directories = tuple(place for place in policy.destinations if "://" not in place)
    trusted = {f"{JOB}/trusted/{n}.pub": text for n, text in enumerate(trusted_keys, 1)}
    unit = ScheduledBackup(
        cluster=spec.metadata.name,
        program=f"{program}/etcdplan",
        spec=f"{JOB}/spec.yaml",
        user=BACKUP_USER,
        identity=f"{JOB}/keys/identity",
        etcd_dir=etcd.rpartition("/")[0],
        standby=number * policy.take_over_after // 1000,
        writes=directories,
        installed=True,
    )
    files = {
        f"{JOB}/spec.yaml": json.dumps(_own_spec(spec, tuple(trusted), pki), indent=1, sort_keys=True) + "\n",
        **trusted,
        f"{UNITS}/{BACKUP_UNIT}.service": service(unit),
        f"{UNITS}/{BACKUP_UNIT}.timer": timer(unit, parse(policy.schedule)),
    }
    return JobTarget(program, extras, files, directories)


def _own_spec(spec: Spec, trusted: tuple[str, ...], pki: tuple[str, str, str]) -> dict[str, Any]:
    """Return the spec with what a backup depends on and no more: a changed flag of etcd is no new job."""
    whole = normalised(spec)
    body = whole["spec"]
    backup = {key: value for key, value in body["backup"].items() if key not in ("hosts", "takeOverAfter")}
    encryption = {
        **backup["encryption"],
        "signingKey": f"{JOB}/keys/signing.key",
        "trustedKeys": list(trusted),
    }
    ca, certificate, key = pki
    tls = {"mode": "none", "allowPlaintext": True}
    if body["tls"]["mode"] == "managed":
        # The CA's key is not there, and nothing asks for it.
        own = {"certificate": certificate, "key": key}
        tls = {"ca": {"certificate": ca, "key": f"{JOB}/not-here.key"}, "operator": own}
    servers = [{"name": one["name"], "host": one["host"]} for one in body["apiServers"]["instances"]]
    return {
        **{key: whole[key] for key in ("apiVersion", "kind", "metadata")},
        "spec": {
            "etcd": {"version": body["etcd"]["version"]},
            "members": body["members"],
            "tls": tls,
            "backup": {**backup, "encryption": encryption},
            **({"apiServers": {"instances": servers}} if servers else {}),
        },
    }
