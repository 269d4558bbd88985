"""A host takes backups by itself, or does so no longer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from etcdplan.model.backup_effects import InstallEtcdplan, RemoveBackupJob, WriteBackupJob
from etcdplan.model.backup_job import BackupJob, sha256_of
from etcdplan.model.effects import Effect, ForgetRecord
from etcdplan.model.state import State
from etcdplan.steps.base import Step


@dataclass(frozen=True, slots=True)
class InstallItself(Step):
    """etcdplan lies on a host with all that it imports. Its path names version and extras: no run is disturbed."""

    kind = "install-etcdplan"
    deadline = 900

    host: str
    program: str
    extras: tuple[str, ...]

    @property
    def subject(self) -> str:
        """The host's etcdplan."""
        return f"backup-host/{self.host}/program"

    def params(self) -> Mapping[str, Any]:
        """What must be where."""
        return {"host": self.host, "program": self.program}

    def effects(self, state: State) -> tuple[Effect, ...]:
        """Install it unless it is there."""
        there = (state.host(self.host).job.get() or BackupJob()).program == self.program
        return () if there else (InstallEtcdplan(self.host, self.program, self.extras),)

    def summary(self) -> str:
        """Name version and host."""
        return f"install {self.program.rpartition('/')[2].replace('-', ' ', 1)} on {self.host}"


@dataclass(frozen=True, slots=True)
class SetBackupTimer(Step):
    """A host's timer takes backups on the schedule, with keys that it has made itself. `files` are texts by path."""

    kind = "backup-timer"

    host: str
    program: str
    files: Mapping[str, str]
    directories: tuple[str, ...]

    @property
    def subject(self) -> str:
        """The host's job."""
        return f"backup-host/{self.host}"

    def params(self) -> Mapping[str, Any]:
        """What its files are."""
        return {"host": self.host, "files": self.digests}

    @property
    def digests(self) -> Mapping[str, str]:
        """The files as they are compared."""
        return {path: sha256_of(text) for path, text in sorted(self.files.items())}

    def effects(self, state: State) -> tuple[Effect, ...]:
        """Write all of it when anything differs, or when the timer does not wait."""
        job = state.host(self.host).job.get() or BackupJob()
        done = job.waits and job.files == self.digests
        return () if done else (WriteBackupJob(self.host, self.program, self.files, self.directories),)

    def summary(self) -> str:
        """Name the host."""
        return f"have {self.host} take backups on the schedule"


@dataclass(frozen=True, slots=True)
class RemoveBackupTimer(Step):
    """A host takes no backups any more; the keys that it made stay there. With `forget` it loses its record, too."""

    kind = "remove-backup-timer"

    host: str
    forget: bool

    @property
    def subject(self) -> str:
        """The host's job."""
        return f"backup-host/{self.host}"

    def params(self) -> Mapping[str, Any]:
        """Whether the host leaves the cluster altogether."""
        return {"forget": self.forget}

    def effects(self, state: State) -> tuple[Effect, ...]:
        """Forget, then remove: while the job is there, what is left to do is seen."""
        host = state.host(self.host)
        if host.job.get() is None:
            return ()
        forget = (ForgetRecord(self.host),) if self.forget and host.record.get() is not None else ()
        return (*forget, RemoveBackupJob(self.host))

    def summary(self) -> str:
        """Name the host."""
        return f"have {self.host} take no backups any more"
