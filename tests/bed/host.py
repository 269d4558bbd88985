"""One host of the bed: a machine with systemd and sshd, and what can befall it."""

import os
import subprocess
import time
import uuid
from pathlib import Path
from typing import Self

from tests.bed.command import BedError, run, wait_until
from tests.bed.control_group import ControlGroup
from tests.bed.disk import Disk, detach
from tests.bed.network import Network

BOOT_DEADLINE = 30.0
_DISK_SIZE = 4096  # MiB, of which only what is written takes room
_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
_IN_GROUPS = 'until [ "$1" = -- ]; do echo $$ >"$1"; shift; done; shift; exec "$@"'
_PUT = (
    'umask 022 && mkdir -p "${1%/*}" && umask 077 && cat >"$1.new" && chmod "$2" "$1.new" && mv "$1.new" "$1"'
)


class Host:
    """A host is made by `Bed`. What is done to its network and disks holds over a power cut, until it is undone."""

    def __init__(self, number: int, network: Network, directory: Path, layers: list[Path]) -> None:
        self.number = number
        self.name = f"h{number}"
        self.address = network.address(number)
        self.host_key = ""
        """The public key that sshd has now, as `TYPE BASE64`."""
        self._network = network
        self._layers = layers
        self._directory = directory
        self._root = directory / "root"
        self._disk = Disk(directory / "disk.ext4", directory / "disk")
        self._own_disks: dict[str, Disk] = {}
        self._drop_input: set[str] = set()
        self._drop_output: set[str] = set()
        self._nspawn: subprocess.Popen[bytes] | None = None

    @property
    def group(self) -> ControlGroup:
        return ControlGroup(self._network.name(self.number))

    @property
    def running(self) -> bool:
        return self._nspawn is not None and self._nspawn.poll() is None

    # Power

    def install(self, hosts_file: str, authorized_key: str) -> None:
        """Make it a new machine with an empty disk: its name, its keys, who may log in. It is off."""
        self._directory.mkdir()
        self._disk.format(_DISK_SIZE)
        self._mount()
        for path, text in (
            ("etc/hostname", f"{self.name}\n"),
            ("etc/machine-id", f"{uuid.uuid4().hex}\n"),
            ("etc/hosts", hosts_file),
        ):
            (self._root / path).write_text(text)
        for home in ("root", "home/deploy", "home/visitor"):
            file = self._root / home / ".ssh" / "authorized_keys"
            file.write_text(authorized_key)
            owner = file.parent.stat()
            os.chown(file, owner.st_uid, owner.st_gid)
        self._make_host_key()

    def boot(self) -> None:
        """Switch the host on; return when sshd listens, whatever else is still starting."""
        if self.running:
            return
        self._stop(lose_power=False)
        self._mount()
        self._network.plug(self.number)
        self._filter()
        name = self._network.name(self.number)
        nspawn = [
            *(
                "systemd-nspawn",
                "--quiet",
                "--register=no",
                "--keep-unit",
                "--boot",
                f"--directory={self._root}",
            ),
            *(f"--machine={name}", f"--network-namespace-path=/run/netns/{name}", "--resolv-conf=off"),
        ]
        with self._console.open("wb") as console:
            self._nspawn = subprocess.Popen(
                ["sh", "-ec", _IN_GROUPS, "sh", *self.group.create(), "--", *nspawn],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
                # As on any current host, also where this machine still has control groups of version 1. Nobody
                # else knows the directory, so that nspawn need not lock it.
                env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1", "SYSTEMD_NSPAWN_LOCK": "0"},
            )
        wait_until(f"sshd of {self.name} listens, see {self._console}", self._listens, BOOT_DEADLINE)

    def power_cut(self) -> None:
        """Take the power away: no last packet, no last write, and what was not synced is lost."""
        self._stop(lose_power=True)

    # Network

    def cut_network(self) -> None:
        """Drop every packet from and to this host."""
        self._drop_input.add('iifname != "lo"')
        self._drop_output.add('oifname != "lo"')
        self._filter()

    def cut_from(self, other: Self | str) -> None:
        """Drop the packets between this host and another, or an address such as the controller's."""
        self._drop_input.add(f"ip saddr {_address(other)}")
        self.one_way(other)

    def one_way(self, other: Self | str) -> None:
        """Drop what this host sends to the other one. What the other one sends arrives."""
        self._drop_output.add(f"ip daddr {_address(other)}")
        self._filter()

    def heal(self) -> None:
        """Undo the cuts that were made at this host."""
        self._drop_input.clear()
        self._drop_output.clear()
        self._filter()

    # Disks

    def empty_disk(self, path: str, mebibytes: int = 64) -> None:
        """Put a new, empty disk of its own where `path` is, in place of the one that was put there before.

        `BedError` while a process of the host uses the old one.
        """
        self._mount()
        if old := self._own_disks.pop(path, None):
            old.unmount()
        image = self._directory / f"own-{len(self._own_disks)}-{uuid.uuid4().hex}.ext4"
        disk = Disk(image, self._root / path.lstrip("/"))
        disk.format(mebibytes)
        disk.mount()
        self._own_disks[path] = disk
        if old:
            old.image.unlink()

    def image_of(self, path: str) -> Path:
        """Return the file of this machine that a disk of its own is."""
        return self._own_disks[path].image

    def full_disk(self, path: str) -> None:
        """Use up all the room of the disk that `path` is on, for root too; no file appears under `path`."""
        self._disk_of(path).fill()

    def free_disk(self, path: str) -> None:
        """Give back what `full_disk` took."""
        self._disk_of(path).free()

    # What a test does on the host beside the tool

    def exec(
        self, *argv: str, stdin: bytes | str = b"", timeout: float = 30, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a program on the host as root, past sshd and network; `BedError` when it fails and `check` is set."""
        return self._run(
            self.enter(), argv, stdin.encode() if isinstance(stdin, str) else stdin, timeout, check
        )

    def enter(self) -> list[str]:
        """Return what to put before a command of this machine so that it runs as root on the host, now."""
        return ["nsenter", f"--target={self._init()}", "--all", "--"]

    def put(self, path: str, content: bytes | str | Path, mode: int = 0o644) -> None:
        """Write a file, root's, on the running or switched-off host; a `Path` is a file of this machine."""
        if isinstance(content, Path):
            content = content.read_bytes()
        elif isinstance(content, str):
            content = content.encode()
        self._mount()
        enter = self.enter() if self.running else ["chroot", str(self._root)]
        self._run(enter, ["sh", "-c", _PUT, "sh", path, f"{mode:o}"], content, 60, True)

    def swap_host_key(self) -> None:
        """Give sshd another key, as a machine has that was put in the place of this one."""
        self._mount()
        self._make_host_key()
        if self.running:
            self.exec("systemctl", "restart", "ssh.service")

    # Inside

    @property
    def _console(self) -> Path:
        return self._directory / "console"

    def _disks(self) -> list[Disk]:
        return [self._disk, *(disk for _, disk in sorted(self._own_disks.items()))]

    def _disk_of(self, path: str) -> Disk:
        holding = [own for own in self._own_disks if Path(path).is_relative_to(own)]
        self._mount()
        return self._own_disks[max(holding, key=len)] if holding else self._disk

    def _mount(self) -> None:
        if self.running:
            return
        root, *own = self._disks()
        root.mount()
        upper, work = root.mount_point / "upper", root.mount_point / "work"
        if not self._root.is_mount():
            for directory in (upper, work, self._root):
                directory.mkdir(exist_ok=True)
            upper.chmod(0o755)
            # redirect_dir: a directory of the root file system can be renamed, as on any other disk.
            options = (
                f"lowerdir={':'.join(map(str, self._layers))},upperdir={upper},workdir={work},redirect_dir=on"
            )
            # Shared: a disk that is mounted under it later appears in the running host.
            run("mount", "--make-shared", "-t", "overlay", "-o", options, "overlay", self._root)
        for disk in own:
            disk.mount()

    def _stop(self, *, lose_power: bool) -> None:
        self._network.unplug(self.number)
        self.group.kill()
        if self._nspawn is not None:
            self._nspawn.wait(timeout=10)
            self._nspawn = None
        disks = self._disks()
        if lose_power:
            for disk in disks:
                disk.lose_power()
        # At once: all processes of the host have ended, and a glance from elsewhere holds no power cut up. What counts
        # is that the disk is free in the end.
        for disk in reversed(disks[1:]):
            disk.unmount(at_once=True)
        if self._root.is_mount():
            detach(self._root)
        disks[0].unmount(at_once=True)

    def _listens(self) -> bool:
        if not self.running:
            end = self._console.read_text(errors="replace")[-2000:]
            raise BedError(f"{self.name} did not boot:\n{end}")
        try:
            return Path(f"/proc/{self._init()}/root/run/sshd.pid").exists()
        except (BedError, OSError):
            return False

    def _init(self) -> int:
        """Return the process on this machine that is process 1 on the host."""
        if self._nspawn is not None and self.running:
            pid = self._nspawn.pid
            for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
                status = Path(f"/proc/{child}/status").read_text()
                if next(line for line in status.splitlines() if line.startswith("NSpid:")).split()[2:] == [
                    "1"
                ]:
                    return int(child)
        raise BedError(f"{self.name} is not running.")

    def _run(
        self, enter: list[str], argv: tuple[str, ...] | list[str], stdin: bytes, timeout: float, check: bool
    ) -> subprocess.CompletedProcess[str]:
        started = time.monotonic()
        try:
            done = subprocess.run(
                [*enter, *argv],
                input=stdin,
                capture_output=True,
                timeout=timeout,
                check=False,
                env=_ENVIRONMENT,
            )
        except subprocess.TimeoutExpired as error:
            raise BedError(
                f"{self.name}: {argv} took longer than {time.monotonic() - started:.0f} s"
            ) from error
        out, err = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
        if check and done.returncode != 0:
            raise BedError(f"{self.name}: {argv}: exit status {done.returncode}: {err or out}")
        return subprocess.CompletedProcess(argv, done.returncode, out, err)

    def _make_host_key(self) -> None:
        key = self._directory / "host_key"
        for file in (key, key.with_suffix(".pub")):
            file.unlink(missing_ok=True)
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", key)
        self.host_key = key.with_suffix(".pub").read_text().strip()
        place = self._root / "etc/ssh/ssh_host_ed25519_key"
        place.unlink(missing_ok=True)
        place.touch(0o600)
        place.write_bytes(key.read_bytes())

    def _filter(self) -> None:
        if Path("/run/netns", self._network.name(self.number)).exists():
            self._network.set_filter(self.number, sorted(self._drop_input), sorted(self._drop_output))


def _address(other: Host | str) -> str:
    return other if isinstance(other, str) else other.address
