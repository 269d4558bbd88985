"""The effect port of the fake world's hosts."""

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from etcdplan.hosts.job_files import BackupJobFiles, PackedProgram
from etcdplan.hosts.ports import Claim, HostRefused, ProgramFiles, StagedFiles
from etcdplan.model.backup_job import BACKUP_LEAF, BackupJob, sha256_of
from etcdplan.model.state import Settings, steady
from tests.support import fake_calls
from tests.support.fake_machine import ETCD_UNIT, RECORD_FILE, FakeMachine, FakePair
from tests.support.fake_start import end_process, hand_over, restored_data, start_process

if TYPE_CHECKING:
    from tests.support.fake_ports import FakeHost
    from tests.support.fake_world import FakeWorld

GRACE = 10.0
"""Seconds between SIGTERM and SIGKILL for a process that does not react."""


def write_check(machine: FakeMachine) -> None:
    """Raise `HostRefused` when nothing can be written."""
    if machine.full:
        raise HostRefused(f"{machine.address}: no space left on device.")


def fire(world: "FakeWorld", machine: FakeMachine, name: str, why: str) -> None:
    """Do what a dead-man does, if it is armed."""
    unit = machine.unit(name)
    if unit.armed is None:
        return
    unit.settings, unit.armed, unit.rolled_back = unit.armed, None, why
    if unit.process is None or unit.process.settings != unit.settings:
        if unit.process is not None:
            end_process(world, unit.process, None)
        unit.failing, unit.tries = False, 0
        start_process(world, machine, name, by_effect=True)
    world.react()


class FakeEffects:
    """`HostEffects`."""

    def __init__(self, host: "FakeHost") -> None:
        self._host = host
        self._world = host.world

    def write_settings(self, claim: Claim, unit: str, settings: Settings) -> None:
        """Write a settings file; flags of an API server that are not about etcd stay."""

        def act(machine: FakeMachine) -> None:
            write_check(machine)
            there = machine.unit(unit)
            if unit != ETCD_UNIT and any(not flag.startswith("etcd-") for flag in settings):
                raise HostRefused(f"These settings of {unit} are not all about etcd.")
            kept = {} if unit == ETCD_UNIT else there.settings or {}
            others = {flag: value for flag, value in kept.items() if not flag.startswith("etcd-")}
            new = {**others, **settings}
            changes = there.settings is not None and steady(new) != steady(there.settings)
            if self._world.dead_men and there.process is not None and changes:
                there.armed, there.rolled_back = there.armed or there.settings, ""
            there.settings = new

        self._host.perform("write_settings", act, unit, claim=claim)

    def disarm(self, claim: Claim, unit: str) -> None:
        """Forget the former settings."""

        def act(machine: FakeMachine) -> None:
            machine.unit(unit).armed = None

        self._host.perform("disarm", act, unit, claim=claim)

    def roll_back(self, claim: Claim, unit: str, why: str) -> None:
        """Put the former settings back."""
        self._host.perform(
            "roll_back", lambda machine: fire(self._world, machine, unit, why), unit, claim=claim
        )

    def start(self, claim: Claim, unit: str) -> None:
        """Start a unit."""

        def act(machine: FakeMachine) -> None:
            there = machine.unit(unit)
            if there.settings is None or there.process is not None:
                raise HostRefused(f"{unit} on {machine.address} has no settings, or runs already.")
            there.held, there.failing, there.tries = False, False, 0
            start_process(self._world, machine, unit, by_effect=True)

        self._host.perform("start", act, unit, claim=claim)

    def stop(self, claim: Claim, unit: str) -> None:
        """Stop a unit, also one that does not react."""
        self._host.perform("stop", lambda machine: self._end(machine, unit), unit, claim=claim)

    def hold(self, claim: Claim, unit: str) -> None:
        """Stop a unit for good."""

        def act(machine: FakeMachine) -> None:
            self._end(machine, unit)
            there = machine.unit(unit)
            there.held, there.armed = True, None

        self._host.perform("hold", act, unit, claim=claim)

    def _end(self, machine: FakeMachine, name: str) -> None:
        unit = machine.unit(name)
        unit.enabled = False
        process = unit.process
        if process is None:
            return
        if process.stopped:
            self._world.clock.sleep(GRACE)
        else:
            hand_over(self._world, process)
        if unit.process is process:
            end_process(self._world, process, None)

    def note_drained(self, claim: Claim, unit: str, *, drained: bool) -> None:
        """Note who an API server's clients are routed to."""

        def act(machine: FakeMachine) -> None:
            write_check(machine)
            machine.unit(unit).drained = drained

        self._host.perform("note_drained", act, unit, claim=claim)

    def set_data_aside(self, claim: Claim) -> None:
        """Rename the data."""

        def act(machine: FakeMachine) -> None:
            if machine.etcd.process is not None:
                raise HostRefused(f"etcd runs on the data of {machine.address}.")
            machine.etcd.armed = None
            if machine.data is not None:
                machine.aside.append(machine.data)
                machine.data = None

        self._host.perform("set_data_aside", act, claim=claim)

    def stage_data(self, claim: Claim, staged: StagedFiles) -> None:
        """Put a restored data directory beside the data."""

        def act(machine: FakeMachine) -> None:
            write_check(machine)
            self._world.replaced.add(staged.restore.replaces)
            machine.staged = restored_data(self._world, staged)

        self._host.perform("stage_data", act, staged.peer_url, claim=claim)

    def discard_staged(self, claim: Claim) -> None:
        """Remove what is staged."""

        def act(machine: FakeMachine) -> None:
            machine.staged = None

        self._host.perform("discard_staged", act, claim=claim)

    def restart_running(self, claim: Claim, units: tuple[str, ...]) -> None:
        """Note that they were started anew."""

        def act(machine: FakeMachine) -> None:
            machine.restarted = self._world.clock.now

        self._host.perform("restart_running", act, claim=claim)

    def freeze_data(self, claim: Claim, seconds: int) -> tuple[str, ...]:
        """Note for how long at most."""

        def act(machine: FakeMachine) -> None:
            machine.frozen = seconds

        self._host.perform("freeze_data", act, claim=claim)
        return ("/var/lib/etcd",)

    def thaw_data(self, claim: Claim) -> None:
        """Refuse where nothing is frozen any more."""

        def act(machine: FakeMachine) -> None:
            if not machine.frozen:
                raise HostRefused(f"{machine.address}: it was thawed before.")
            machine.frozen = 0

        self._host.perform("thaw_data", act, claim=claim)

    def adopt_staged(self, claim: Claim) -> None:
        """Put what is staged in the place of the data."""

        def act(machine: FakeMachine) -> None:
            if machine.etcd.process is not None or machine.data is not None or machine.staged is None:
                raise HostRefused(f"Nothing can be adopted on {machine.address}.")
            machine.data, machine.staged = machine.staged, None

        self._host.perform("adopt_staged", act, claim=claim)

    def make_leaf_key(self, claim: Claim, leaf: str) -> bytes:
        """Make a key."""
        key = self._world.new_key()

        def act(machine: FakeMachine) -> None:
            write_check(machine)
            machine.new_keys[leaf] = key

        self._host.perform("make_leaf_key", act, leaf, claim=claim)
        return json.dumps({"key": key}).encode()

    def install_leaf(self, claim: Claim, leaf: str, certificate_pem: bytes) -> None:
        """Put the new key and its certificate in place."""

        def act(machine: FakeMachine) -> None:
            write_check(machine)
            pair = FakePair(certificate_pem, machine.new_keys.get(leaf, ""))
            if not pair.has_its_key:
                raise HostRefused(f"The certificate for {leaf} does not belong to the key that waits for it.")
            del machine.new_keys[leaf]
            machine.pairs[leaf] = pair

        self._host.perform("install_leaf", act, leaf, claim=claim)

    def install_program(self, claim: Claim, program: ProgramFiles) -> None:
        """Put the program there."""

        def act(machine: FakeMachine) -> None:
            write_check(machine)
            machine.program = program.path

        self._host.perform("install_program", act, program.path, claim=claim)

    def install_etcdplan(self, claim: Claim, directory: str, packed: PackedProgram) -> None:
        """Put etcdplan there."""

        def act(machine: FakeMachine) -> None:
            write_check(machine)
            machine.job = replace(machine.job or BackupJob(), program=directory)

        self._host.perform("install_etcdplan", act, directory, claim=claim)

    def write_backup_job(self, claim: Claim, job: BackupJobFiles) -> None:
        """Write the files and let the timer wait."""

        def act(machine: FakeMachine) -> None:
            write_check(machine)
            files = {path: sha256_of(text) for path, text in job.files.items()}
            machine.job = BackupJob(job.program, files, True, "PUBLIC KEY", "age1")

        self._host.perform("write_backup_job", act, claim=claim)

    def remove_backup_job(self, claim: Claim) -> None:
        """Take timer and files away."""

        def act(machine: FakeMachine) -> None:
            machine.job = None
            machine.pairs.pop(BACKUP_LEAF, None)

        self._host.perform("remove_backup_job", act, claim=claim)

    def install_trust(self, claim: Claim, bundle_pem: bytes) -> None:
        """Write the CA bundle."""

        def act(machine: FakeMachine) -> None:
            write_check(machine)
            machine.bundle = bundle_pem

        self._host.perform("install_trust", act, claim=claim)

    def write_record(self, claim: Claim, record: bytes) -> None:
        """Write the record."""

        def act(machine: FakeMachine) -> None:
            write_check(machine)
            machine.files[RECORD_FILE] = record

        self._host.perform("write_record", act, claim=claim)

    def forget_record(self, claim: Claim) -> None:
        """Take the record away."""

        def act(machine: FakeMachine) -> None:
            machine.files.pop(RECORD_FILE, None)

        self._host.perform("forget_record", act, claim=claim)

    def member_add(self, claim: Claim, client_url: str, peer_url: str) -> None:
        """Add a learner."""
        self._call(claim, "member_add", client_url, peer_url)

    def member_promote(self, claim: Claim, client_url: str, member_id: int) -> None:
        """Promote a learner."""
        self._call(claim, "member_promote", client_url, member_id)

    def member_remove(self, claim: Claim, client_url: str, member_id: int) -> None:
        """Remove a member."""
        self._call(claim, "member_remove", client_url, member_id)

    def move_leader(self, claim: Claim, client_url: str, member_id: int) -> None:
        """Hand the leadership over."""
        self._call(claim, "move_leader", client_url, member_id)

    def clear_corrupt(self, claim: Claim, client_url: str, member_id: int) -> None:
        """Take a CORRUPT alarm back."""
        self._call(claim, "clear_corrupt", client_url, member_id)

    def _call(self, claim: Claim, name: str, client_url: str, argument: str | int) -> None:
        self._host.perform(
            name,
            lambda machine: fake_calls.CALLS[name](self._world, machine, client_url, argument),
            client_url,
            argument,
            claim=claim,
        )
