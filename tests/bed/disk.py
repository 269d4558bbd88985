"""Disks that forget what was not synced when the power goes: an ext4 file system in a file, on a loop device."""

import errno
import fcntl
import os
import struct
from dataclasses import dataclass
from pathlib import Path

from tests.bed.command import run, wait_until

# FS_IOC_SHUTDOWN with FS_SHUTDOWN_FLAGS_NOLOGFLUSH: from now on nothing more reaches the disk, the journal neither.
_SHUTDOWN = 0x8004587D
_NO_LOG_FLUSH = struct.pack("I", 2)


def detach(mount_point: Path) -> None:
    """Take a mount away, whoever looks at something there just now: who does, keeps the disk until then."""
    run("umount", "--lazy", mount_point)


@dataclass(frozen=True)
class Disk:
    image: Path
    mount_point: Path

    def format(self, mebibytes: int) -> None:
        """Make it new and empty. All space is anybody's: none is kept for root."""
        self.image.unlink(missing_ok=True)
        with self.image.open("wb") as file:
            file.truncate(mebibytes << 20)
        run(
            "mkfs.ext4", "-q", "-m", "0", "-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard", self.image
        )

    def mount(self) -> None:
        """Mount it, replaying its journal; a running host sees it where its root file system is shared."""
        self.mount_point.mkdir(parents=True, exist_ok=True)
        if not self.mount_point.is_mount():
            run("mount", "--make-shared", "-o", "loop,noinit_itable", self.image, self.mount_point)

    def lose_power(self) -> None:
        """What was not synced is gone, and every write from now on fails."""
        if self.mount_point.is_mount():
            directory = os.open(self.mount_point, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.ioctl(directory, _SHUTDOWN, _NO_LOG_FLUSH)
            finally:
                os.close(directory)

    def unmount(self, *, at_once: bool = False) -> None:
        """Take it away and wait until nothing uses it; not while somebody does, unless it is to go `at_once`."""
        if self.mount_point.is_mount():
            if at_once:
                detach(self.mount_point)
            else:
                run("umount", self.mount_point)
        # The kernel lets go of it a moment later; two mounts of one image would destroy it.
        wait_until(f"nothing uses {self.image}", lambda: not run("losetup", "--associated", self.image))

    @property
    def _filler(self) -> Path:
        return self.mount_point / "lost+found" / "filler"

    def fill(self) -> None:
        """Leave no room at all, by a file where only root looks."""
        with self._filler.open("ab") as file:
            room = os.fstatvfs(file.fileno())
            piece = room.f_bavail * room.f_frsize
            while piece >= room.f_frsize:
                try:
                    os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, piece)
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    piece //= 2

    def free(self) -> None:
        self._filler.unlink(missing_ok=True)
