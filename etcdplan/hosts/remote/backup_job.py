"""What takes backups on a systemd host by itself: how it gets there, and how it is seen."""

import base64
import hashlib
from collections.abc import Mapping

from etcdplan.diff.backup_host import BACKUP_UNIT, BACKUP_USER
from etcdplan.hosts.job_files import BackupJobFiles, PackedProgram
from etcdplan.hosts.ports import Claim
from etcdplan.hosts.remote.once import Effects
from etcdplan.model.backup_job import BackupJob

_WORK = 60.0
"""Seconds that a slow host may take to make keys with a program that it runs for the first time."""


def install(effects: Effects, claim: Claim, directory: str, packed: PackedProgram) -> None:
    """Send the archive and have it put in place as a whole, when it runs there."""
    sent = packed.archive
    arguments = directory, packed.python, packed.version, str(len(sent)), hashlib.sha256(sent).hexdigest()
    effects.do(
        claim,
        "install-etcdplan",
        "install etcdplan",
        *arguments,
        stream=sent,
        script="backup_job",
        work=_WORK,
    )


def write(effects: Effects, claim: Claim, job: BackupJobFiles) -> None:
    """Write the files, make the keys where there are none, and let the timer wait."""
    lines = (f"{path} {base64.b64encode(text.encode()).decode()}\n" for path, text in job.files.items())
    effects.do(
        claim,
        "backup-job",
        "have it take backups",
        *(job.program, BACKUP_USER, BACKUP_UNIT, *job.directories),
        payload="".join(lines).encode(),
        script="backup_job",
        work=_WORK,
    )


def remove(effects: Effects, claim: Claim) -> None:
    """Stop the timer and remove what came with it."""
    what = "have it take no backups any more"
    effects.do(claim, "remove-backup-job", what, BACKUP_UNIT, script="backup_job", work=_WORK)


def seen(parts: Mapping[str, bytes], wanted: str) -> BackupJob | None:
    """Return the job that a look has found, None for none; of several programs the wanted one. Raises `ValueError`."""
    programs = _lines(parts.get("programs", b""))
    digests = (line.split(maxsplit=1) for line in _lines(parts.get("files", b"")))
    files = {path.lstrip("*"): digest for digest, path in digests}
    if not programs and not files:
        return None
    timer = dict(line.partition("=")[::2] for line in _lines(parts.get("timer", b"")))
    result = dict(line.partition("=")[::2] for line in _lines(parts.get("service", b""))).get("Result", "")
    return BackupJob(
        program=wanted if wanted in programs else min(programs, default=""),
        files=files,
        waits=timer.get("ActiveState") == "active" and timer.get("UnitFileState") == "enabled",
        signer=parts.get("signer", b"").decode("ascii", errors="replace"),
        recipient="".join(_lines(parts.get("recipient", b""))),
        failed=result not in ("", "success"),
    )


def _lines(content: bytes) -> list[str]:
    return [line for line in content.decode(errors="replace").splitlines() if line]
