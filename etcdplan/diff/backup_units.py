"""The systemd units that take a cluster's backups on a host of the user's choice. Pure text."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from etcdplan.spec.schedule import Schedule

LONGEST: Final = 6 * 3600
"""Seconds that a backup may take before systemd ends it: no cluster of 8 GiB needs a tenth of that."""


@dataclass(frozen=True, slots=True)
class ScheduledBackup:
    """What runs on the host; all paths are there. `standby` seconds it waits, and takes one only if nobody else has."""

    cluster: str
    program: str
    spec: str
    user: str
    identity: str = ""
    etcd_dir: str = ""
    metrics: str = ""
    standby: int = 0
    writes: Sequence[str] = ()
    """The directories that it writes to: destinations, and that of the metrics."""
    installed: bool = False
    """Whether `apply` has installed it: then it reaches etcd alone, and its user has a home but no rights on hosts."""

    @property
    def name(self) -> str:
        """The units' name without its kind."""
        return f"etcdplan-backup-{self.cluster}"


def service(job: ScheduledBackup) -> str:
    """Return the service: one run, with no more of the host than that needs (systemd.exec(5))."""
    command = [job.program, "backup", "run", job.spec, "--if-due"]
    command += ["--etcd-dir", job.etcd_dir] if job.etcd_dir else []
    command += ["--metrics", job.metrics] if job.metrics else []
    command += ["--without-ssh"] if job.installed else []
    lines = [
        "[Unit]",
        f"Description=Backup of the etcd cluster {job.cluster}",
        "Wants=network-online.target",
        "After=network-online.target",
        "",
        "[Service]",
        "Type=oneshot",
        f"User={_escaped(job.user)}",
        *([f"ExecStartPre=sleep {job.standby}"] if job.standby else []),
        f"ExecStart={' '.join(map(_quoted, command))}",
        f"TimeoutStartSec={LONGEST + job.standby}",
    ]
    if job.installed:
        home = f"/var/lib/{job.user}"
        lines += [
            f"Environment=HOME={home} ETCDPLAN_AGE_IDENTITY={job.identity}",
            f"EnvironmentFile=-{home}/environment",
            f"StateDirectory={job.user}",
            "StateDirectoryMode=0700",
        ]
    elif job.identity:
        lines += [
            f"LoadCredential=age-identity:{_escaped(job.identity)}",
            "Environment=ETCDPLAN_AGE_IDENTITY=%d/age-identity",
        ]
    lines += [
        "UMask=0077",
        "NoNewPrivileges=yes",
        "CapabilityBoundingSet=",
        "ProtectSystem=strict",
        "ProtectHome=read-only",
        "PrivateTmp=yes",
        "PrivateDevices=yes",
        "ProtectKernelTunables=yes",
        "ProtectKernelModules=yes",
        "ProtectKernelLogs=yes",
        "ProtectControlGroups=yes",
        "ProtectClock=yes",
        "ProtectHostname=yes",
        "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX",
        "RestrictNamespaces=yes",
        "RestrictRealtime=yes",
        "RestrictSUIDSGID=yes",
        "LockPersonality=yes",
        "SystemCallArchitectures=native",
        *(f"ReadWritePaths={_quoted(path)}" for path in job.writes),
    ]
    return "\n".join(lines) + "\n"


def timer(job: ScheduledBackup, schedule: Schedule) -> str:
    """Return the timer: on the schedule to the second, and at once after a time that the host slept through."""
    return "\n".join(
        [
            "[Unit]",
            f"Description=Backups of the etcd cluster {job.cluster}, on its schedule",
            "",
            "[Timer]",
            *(f"OnCalendar={event}" for event in schedule.on_calendar()),
            "AccuracySec=1s",
            "Persistent=true",
            "",
            "[Install]",
            "WantedBy=timers.target",
            "",
        ]
    )


def _escaped(text: str) -> str:
    """Return text without specifiers (systemd.unit(5))."""
    return text.replace("%", "%%")


def _quoted(word: str) -> str:
    """Return a word of a command line (systemd.service(5), "Command lines")."""
    plain = _escaped(word).replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    return f'"{plain}"' if not plain or set(plain) & set(" \t;'\"\\") else plain
