"""Changing a systemd host, and the cluster through it."""

import base64
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from etcdplan.diff.backup_host import BACKUP_UNIT, BACKUP_USER
from etcdplan.hosts.job_files import BackupJobFiles, PackedProgram
from etcdplan.hosts.ports import Claim, HostRefused, ProgramFiles, StagedFiles
from etcdplan.hosts.remote import backup_job, dead_man, frozen, restored
from etcdplan.hosts.remote.calls import Calls, EtcdAccess
from etcdplan.hosts.remote.flag_words import effective, flags_among
from etcdplan.hosts.remote.inspect import inspect
from etcdplan.hosts.remote.layout import Layout
from etcdplan.hosts.remote.once import Effects
from etcdplan.hosts.remote.own_unit import own_unit
from etcdplan.hosts.remote.ports_in_use import listens, pattern
from etcdplan.hosts.remote.program import changed_program, install
from etcdplan.hosts.remote.report import data_dirs
from etcdplan.hosts.remote.script import readable
from etcdplan.hosts.remote.service import Service
from etcdplan.hosts.remote.unit_settings import SYSTEM, changed_files, on_disk
from etcdplan.hosts.remote.view import View
from etcdplan.hosts.shell import Shell
from etcdplan.model.backup_job import BACKUP_LEAF
from etcdplan.model.state import ETCD, PROGRAM, Settings, api_server_unit, steady

T = TypeVar("T")

_LOOK = 15.0
_GRACE = 15
"""Seconds that etcd may take to end after SIGTERM."""
_RESTART = 300
"""Seconds that services may take to end before they come up again; systemd gives each 90 when its unit says nothing
(systemd-system.conf(5), `DefaultTimeoutStopSec`)."""
_LONG_GRACE = 120
"""Seconds that an API server may take at most: its clients' requests end first, in the time that its unit gives it
(`TimeoutStopSec`; systemd kills it then)."""

_LEAF = re.compile(r"[a-z0-9][a-z0-9.-]*")


@dataclass(frozen=True, slots=True)
class RemoteEffects:
    """Implements `HostEffects`."""

    shell: Shell
    access: EtcdAccess
    layout: Layout

    @property
    def _once(self) -> Effects:
        return Effects(self.shell)

    def write_settings(self, claim: Claim, unit: str, settings: Settings) -> None:
        """Write a unit's settings where the host has them; a host without etcd's unit gets etcdplan's own.

        When it runs, a dead-man is armed first, but for what only an empty member reads.
        """

        def files(view: View) -> tuple[str, list[str], bool]:
            name, service = self._service(view, unit)
            flags = {flag: value for flag, value in settings.items() if flag != PROGRAM}
            program, arms = settings.get(PROGRAM, ""), False
            if service is not None:
                arms = steady(on_disk(service, etcd=unit == ETCD)) != steady(flags)
                texts: Mapping[str, str] = changed_files(service, flags, etcd=unit == ETCD)
                if program:
                    arms |= service.command().program != program
                    texts = changed_program(service, texts, program)
            elif unit == ETCD:
                own = own_unit(program or self.layout.program, self.layout.user, flags)
                texts = {f"{SYSTEM}/{name}": own}
            else:
                raise ValueError("there is no such unit")
            return name, [_line(view, path, text) for path, text in texts.items()], arms

        name, lines, arms = self._seen(files, f"The settings of {unit} cannot be written")
        user = self.layout.user if unit == ETCD else ""
        payload = "".join(f"{line}\n" for line in lines).encode()
        armed = dead_man.arguments() if arms else ("", "")
        self._once.do(claim, "write", f"write the settings of {unit}", name, user, *armed, payload=payload)

    def disarm(self, claim: Claim, unit: str) -> None:
        """Let the new settings of a unit be; its former ones are forgotten."""
        self._once.do(claim, "disarm", f"keep the settings of {unit}", self._name(unit))

    def roll_back(self, claim: Claim, unit: str, why: str) -> None:
        """Put a unit's former files back and restart it, if its dead-man is armed; it may still be starting then."""
        why = f"its controller gave the new settings up: {readable(why.encode())}"
        self._once.do(claim, "roll-back", f"roll {unit} back", self._name(unit), why)

    def start(self, claim: Claim, unit: str) -> None:
        """Release a held unit and start it with the settings on disk; its ports must be free."""

        def arguments(view: View) -> tuple[str, ...]:
            name, service = self._service(view, unit)
            if service is None:
                raise ValueError("it has no unit")
            settings, etcd = on_disk(service, etcd=unit == ETCD), unit == ETCD
            command = service.command()
            flags = (
                settings
                if etcd
                else effective(flags_among([a.text for a in command.arguments], prefix="etcd-"))
            )
            ports = (f"{host} {port} {pattern(host, port)}" for host, port in listens(flags, etcd=etcd))
            places = data_dirs(settings, self.layout) if etcd else ("", "")
            user = view.units.get(name, {}).get("User") or "root"
            return name, command.program, "\n".join(ports), *places, user

        found = self._seen(arguments, f"{unit} on {self.shell.address} cannot be started")
        self._once.do(claim, "start", f"start {unit}", *found)

    def stop(self, claim: Claim, unit: str) -> None:
        """Stop a unit and wait until it is gone."""
        grace = _GRACE if unit == ETCD else _LONG_GRACE
        self._once.do(claim, "stop", f"stop {unit}", self._name(unit), str(grace), work=grace)

    def hold(self, claim: Claim, unit: str) -> None:
        """Stop a unit and keep it from starting, also when the host boots."""
        self._once.do(claim, "hold", f"hold {unit}", self._name(unit), str(_GRACE))

    def note_drained(self, claim: Claim, unit: str, *, drained: bool) -> None:
        """Note that the clients of an API server were routed away from it, or that they no longer are."""
        what = f"note that clients are routed {'away from' if drained else 'back to'} {unit}"
        self._once.do(
            claim, "drained", what, _checked(unit.removeprefix("apiserver/")), "y" if drained else ""
        )

    def set_data_aside(self, claim: Claim) -> None:
        """Rename etcd's data; refused while etcd runs on it."""
        self._once.do(claim, "set-aside", "set the data aside", *self._place())

    def stage_data(self, claim: Claim, staged: StagedFiles) -> None:
        """Send a restored data directory to beside etcd's data; there must be room for it."""
        restored.stage(self._once, claim, staged, self._place(), self.layout.user)

    def adopt_staged(self, claim: Claim) -> None:
        """Rename what is staged; refused while etcd runs."""
        restored.adopt(self._once, claim, self._place())

    def discard_staged(self, claim: Claim) -> None:
        """Remove what is staged."""
        restored.discard(self._once, claim, self._place())

    def restart_running(self, claim: Claim, units: tuple[str, ...]) -> None:
        """Restart those of these services that run."""
        what = f"restart {', '.join(units)} where they run"
        self._once.do(claim, "restart-running", what, str(_RESTART), *units, work=_RESTART)

    def freeze_data(self, claim: Claim, seconds: int) -> tuple[str, ...]:
        """Freeze the file systems of etcd's data and log, by a service that thaws them by itself."""
        _, *place = self._place()
        return frozen.freeze(self._once, claim, seconds, *place)

    def thaw_data(self, claim: Claim) -> None:
        """Have that service thaw them now."""
        frozen.thaw(self._once, claim)

    def _place(self) -> tuple[str, str, str]:
        """Return etcd's unit, its data directory, and that of its log if it is elsewhere."""

        def places(view: View) -> tuple[str, str]:
            _, service = self._service(view, ETCD)
            return data_dirs(on_disk(service, etcd=True) if service else {}, self.layout)

        found = self._seen(places, f"Where the data of {self.shell.address} is cannot be read")
        return self.layout.etcd_unit, *found

    def make_leaf_key(self, claim: Claim, leaf: str) -> bytes:
        """Make a new private key for a leaf beside the one in use; return a signing request (PEM)."""
        return self._once.do(claim, "make-key", f"make a key for {leaf}", _checked(leaf))

    def install_leaf(self, claim: Claim, leaf: str, certificate_pem: bytes) -> None:
        """Put the new key and this certificate in the place of the old pair, for the user whose unit reads it."""
        server = leaf.removeprefix("apiserver-")
        etcd = server == leaf
        unit = (
            self.layout.etcd_unit
            if etcd
            else self._name(api_server_unit(server), missing=f"kube-apiserver-{server}.service")
        )
        user = self.layout.user if etcd else "root"
        if leaf == BACKUP_LEAF:
            unit, user = f"{BACKUP_UNIT}.service", BACKUP_USER
        self._once.do(
            claim,
            "install-leaf",
            f"install the certificate {leaf}",
            _checked(leaf),
            unit,
            user,
            self.layout.etcd_unit,
            payload=certificate_pem,
        )

    def install_program(self, claim: Claim, program: ProgramFiles) -> None:
        """Put etcd's program and what came with it in place."""
        install(self._once, claim, program)

    def install_etcdplan(self, claim: Claim, directory: str, packed: PackedProgram) -> None:
        """Put etcdplan into a directory as a whole."""
        backup_job.install(self._once, claim, directory, packed)

    def write_backup_job(self, claim: Claim, job: BackupJobFiles) -> None:
        """Write the host's job and let its timer wait."""
        backup_job.write(self._once, claim, job)

    def remove_backup_job(self, claim: Claim) -> None:
        """Stop the timer and remove what came with it."""
        backup_job.remove(self._once, claim)

    def install_trust(self, claim: Claim, bundle_pem: bytes) -> None:
        """Write the CA bundle."""
        self._once.do(claim, "trust", "install the CA bundle", self.layout.etcd_unit, payload=bundle_pem)

    def write_record(self, claim: Claim, record: bytes) -> None:
        """Write the host's record of its cluster."""
        self._once.do(claim, "record", "write the record", payload=record)

    def forget_record(self, claim: Claim) -> None:
        """Take the host's record away."""
        self._once.do(claim, "forget-record", "forget the record")

    def member_add(self, claim: Claim, client_url: str, peer_url: str) -> None:
        """Add a learner."""
        with self._calls.calling(claim, client_url, f"add {peer_url}") as (etcd, timeout):
            etcd.member_add(peer_url, learner=True, timeout=timeout)

    def member_promote(self, claim: Claim, client_url: str, member_id: int) -> None:
        """Promote a learner."""
        with self._calls.calling(claim, client_url, f"promote {member_id:x}") as (etcd, timeout):
            etcd.member_promote(member_id, timeout=timeout)

    def member_remove(self, claim: Claim, client_url: str, member_id: int) -> None:
        """Remove a member."""
        with self._calls.calling(claim, client_url, f"remove {member_id:x}") as (etcd, timeout):
            etcd.member_remove(member_id, timeout=timeout)

    def clear_corrupt(self, claim: Claim, client_url: str, member_id: int) -> None:
        """Take back a CORRUPT alarm."""
        what = f"take back the CORRUPT alarm for member {member_id:x}"
        with self._calls.calling(claim, client_url, what) as (etcd, timeout):
            etcd.clear_corrupt(member_id, timeout=timeout)

    def move_leader(self, claim: Claim, client_url: str, member_id: int) -> None:
        """Hand the leadership over."""
        with self._calls.calling(claim, client_url, f"make {member_id:x} the leader") as (etcd, timeout):
            etcd.move_leader(member_id, timeout=timeout)

    @property
    def _calls(self) -> Calls:
        return Calls(self._once, self.access)

    def _service(self, view: View, unit: str) -> tuple[str, Service | None]:
        name = self._named(view, unit)
        return name, view.service(name)

    def _named(self, view: View, unit: str) -> str:
        if view.silence:
            raise ValueError(f"systemd does not answer there ({view.silence})")
        return self.layout.unit(unit, view.units)

    def _name(self, unit: str, *, missing: str = "") -> str:
        """Return systemd's name for a unit; `missing`, if given, for one that is not there."""
        if unit == ETCD:
            return self.layout.etcd_unit

        def name(view: View) -> str:
            try:
                return self._named(view, unit)
            except HostRefused:
                if missing:
                    return missing
                raise

        return self._seen(name, f"Nothing can be done with {unit} on {self.shell.address}")

    def _seen(self, conclude: Callable[[View], T], problem: str) -> T:
        """Look at the host first; a `ValueError` of `conclude` is a refusal."""

        def concluded(view: View) -> T:
            with _refusing(problem):
                return conclude(view)

        return inspect(self.shell, self.layout, concluded, timeout=_LOOK)[0]


@contextmanager
def _refusing(problem: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise HostRefused(f"{problem}: {error}.") from error


def _line(view: View, path: str, text: str) -> str:
    """Describe a file to write: where, for whom, what it must replace, and its content."""
    if not re.fullmatch(r"/[!-~]+", path):
        raise ValueError(f"{path!r} is not a path that can be written")
    there = view.file(path)
    digest = "-" if there is None else hashlib.sha256(there.content).hexdigest()
    mode, owner = ("644", "-") if there is None else (there.mode, there.owner)
    return f"{path} {mode} {owner} {digest} {base64.b64encode(text.encode()).decode()}"


def _checked(leaf: str) -> str:
    if not _LEAF.fullmatch(leaf):
        raise HostRefused(f"{leaf!r} cannot be a name on a host.")
    return leaf
