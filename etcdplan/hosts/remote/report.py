"""From what was seen on a systemd host to a `HostReport`."""

import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TypeVar

from etcdplan.hosts.data_dir import STAGED, judge, segments
from etcdplan.hosts.ports import HostReport, LeafFile
from etcdplan.hosts.remote import backup_job
from etcdplan.hosts.remote.flag_words import effective, flags_among
from etcdplan.hosts.remote.layout import Layout
from etcdplan.hosts.remote.program import installed
from etcdplan.hosts.remote.unit_settings import about_etcd, etcd_settings, on_disk
from etcdplan.hosts.remote.view import NotLookedAt, Program, View
from etcdplan.model.facts import Fact, unknown
from etcdplan.model.machine import Machine, Volume
from etcdplan.model.state import PROGRAM, Data, Process, Settings, Unit, api_server_unit
from etcdplan.pki.errors import PkiError
from etcdplan.pki.leaf import certifies

T = TypeVar("T")

_CA, _RECORD = "/etc/etcdplan/pki/ca.crt", "/var/lib/etcdplan/record.json"
_KILLED = ("success", "signal")
"""Results of a failed unit that are no failure of the program: it was killed, and stays down."""


def report(address: str, layout: Layout, view: View) -> HostReport:
    """Return the report; raise `NotLookedAt` when something more has to be read first."""
    facts = _Facts(address, layout, view)
    names = layout.unit_names(unit for unit in view.units if unit != layout.etcd_unit)
    if view.silence:
        # What units there are is not known; those of the spec's API servers are taken for there, and say nothing.
        names = {name: unit or f"kube-apiserver-{name}.service" for name, unit in layout.api_servers.items()}
    return HostReport(
        etcd=facts.unit("etcd", layout.etcd_unit, etcd=True),
        data=facts.fact("data", facts.data),
        leafs={leaf: facts.fact(f"leaf/{leaf}", partial(facts.leaf, leaf)) for leaf in sorted(view.leafs)},
        trust=facts.fact("trust", partial(facts.content, _CA)),
        record=facts.fact("record", partial(facts.content, _RECORD)),
        api_servers={
            name: facts.unit(api_server_unit(name), unit, etcd=False) for name, unit in sorted(names.items())
        },
        installed=frozenset(names),
        free_bytes=facts.free_bytes(),
        boot_id=view.machine.boot_id,
        machine=facts.machine(),
        program=facts.fact("program", lambda: installed(view.program, layout.source)),
        staged=facts.fact("staged", facts.staged),
        strays={} if view.silence else dict(_strays(view)),
        job=facts.fact("job", lambda: backup_job.seen(view.job, layout.etcdplan)),
    )


def data_dirs(settings: Settings, layout: Layout) -> tuple[str, str]:
    """Return etcd's data directory and, if it is elsewhere, that of its log, else an empty string."""
    return settings.get("data-dir", layout.data_dir).rstrip("/"), settings.get("wal-dir", "").rstrip("/")


class _Facts:
    def __init__(self, address: str, layout: Layout, view: View) -> None:
        self._address = address
        self._layout = layout
        self._view = view

    def fact(self, name: str, read: Callable[[], T | None]) -> Fact[T]:
        name = f"host/{self._address}/{name}"
        try:
            return Fact(read(), name=name, seen=self._address)
        except ValueError as error:
            return unknown(name, str(error))

    def unit(self, name: str, unit: str, *, etcd: bool) -> Unit:
        shown = self._view.units.get(unit, {})
        failed = shown.get("ActiveState") == "failed" and shown.get("Result") not in _KILLED
        return Unit(
            settings=self.fact(f"{name}/settings", partial(self._settings, unit, etcd=etcd)),
            process=self.fact(f"{name}/process", partial(self._process, unit, etcd=etcd)),
            held=unit in self._view.held,
            failing=failed,
            drained=not etcd and name.removeprefix(api_server_unit("")) in self._view.drained,
            armed=unit in self._view.armed,
            rolled_back=self._view.fired.get(unit, ""),
        )

    def content(self, path: str) -> bytes | None:
        file = self._view.file(path)
        return None if file is None else file.content

    def leaf(self, leaf: str) -> LeafFile | None:
        certificate, key = self._view.leafs[leaf]
        if certificate is None:
            return None
        if not certificate:
            raise ValueError(f"the certificate {leaf} cannot be read")
        try:
            return LeafFile(certificate, bool(key) and certifies(certificate, key))
        except (PkiError, ValueError):
            return LeafFile(certificate, False)

    def data(self) -> Data | None:
        data_dir, log = self._data_dirs()
        names = self._view.directory(data_dir) or []
        return self._identity(data_dir, log, names)

    def staged(self) -> Data | None:
        data_dir, log = self._data_dirs()
        # What else lies there is a transfer that is under way, or was cut off.
        return self._identity(f"{data_dir}/{STAGED}", f"{log}.{STAGED}" if log else "", [])

    def _data_dirs(self) -> tuple[str, str]:
        return data_dirs(self._settings(self._layout.etcd_unit, etcd=True) or {}, self._layout)

    def _identity(self, data_dir: str, log: str, names: list[str]) -> Data | None:
        log_dir = log or f"{data_dir}/member/wal"
        log_names = self._view.directory(log_dir) or []
        heads = [self._view.heads.get(f"{log_dir}/{name}", b"") for name in segments(log_names)]
        return judge(data_dir, log, names=lambda: names, log_names=log_names, heads=heads)

    def free_bytes(self) -> int | None:
        try:
            return self._volumes()[0].free
        except ValueError:
            return None

    def machine(self) -> Machine:
        view = self._view
        return Machine(
            memory=self.fact("memory", lambda: _said(view.memory, "/proc/meminfo")),
            processors=self.fact("processors", lambda: _said(view.processors, "nproc")),
            data=self.fact("disk", lambda: self._volumes()[0]),
            log=self.fact("log-disk", lambda: self._volumes()[1]),
            listening=self.fact("ports", self._listening),
        )

    def _listening(self) -> tuple[tuple[str, int], ...]:
        if not self._view.listening:
            # At least whoever let us in listens.
            raise ValueError("the kernel's tables of ports cannot be read")
        return self._view.listening

    def _volumes(self) -> tuple[Volume, Volume | None]:
        """Return the file systems of the data and of a log that is elsewhere; raise `ValueError`."""
        settings = self._settings(self._layout.etcd_unit, etcd=True) or {}
        data, log = data_dirs(settings, self._layout)
        return self._volume(data), self._volume(log) if log else None

    def _volume(self, directory: str) -> Volume:
        volume = self._view.volumes.get(directory)
        if volume is None:
            raise ValueError(f"nothing is known of the file system of {directory}")
        return volume

    def _settings(self, unit: str, *, etcd: bool) -> Settings | None:
        service = self._view.service(unit)
        if service is None:
            return None
        return self._with_program(on_disk(service, etcd=etcd), service.command().program, etcd=etcd)

    def _with_program(self, settings: Settings, program: str, *, etcd: bool) -> Settings:
        """Add what is executed, where the spec says what it must be."""
        return {**settings, PROGRAM: program} if etcd and self._layout.source else settings

    def _process(self, unit: str, *, etcd: bool) -> Process | None:
        if unit not in self._view.units:
            self._view.service(unit)  # It raises why.
        program = self._view.programs.get(unit)
        if program is None:
            if etcd:
                self._check_strays()
            return None
        if program.path.endswith(("/systemd", "/systemd-executor")) or not program.argv:
            raise ValueError(f"{unit} is about to start")
        started = round(time.time() - program.age)
        ready = program.ready.split(" ")[1:2] == ["200"]
        if program.ready.split(" ")[1:2] == ["401"]:
            raise ValueError(
                "whether it is ready it tells nobody without a certificate (401 on /readyz), and that of its "
                "--kubelet-client-certificate (or /etc/kubernetes/pki/apiserver-kubelet-client.crt) it does not accept"
            )
        settings = self._running_settings(program) if etcd else about_etcd(_flags(program.argv))
        return Process(settings, ready, hung=program.state in "Tt", started=started)

    def _running_settings(self, program: Program) -> Settings:
        def read(path: str) -> str | None:
            file = self._view.file(path)
            if file is not None and file.changed > self._view.now - program.age:
                raise _Newer(path)
            return self._view.read(path)

        try:
            settings = etcd_settings(program.argv[1:], program.environment, read)
            return self._with_program(settings, program.argv[0], etcd=True)
        except _Newer as newer:
            # What is in the file now is not what it runs with; that differs from any settings that are wanted.
            return {"config-file": newer.path}

    def _check_strays(self) -> None:
        """Raise `ValueError` when an etcd runs on the unit's data that the unit has not started."""
        try:
            ours = data_dirs(self._settings(self._layout.etcd_unit, etcd=True) or {}, self._layout)[0]
        except ValueError:
            ours = ""
        for pid, argv in self._view.strays.items():
            try:
                theirs = _flags(argv).get("data-dir")
            except ValueError:
                theirs = None
            if not ours or theirs is None or theirs.rstrip("/") == ours:
                if pid in self._view.newcomers:
                    raise NotLookedAt
                raise ValueError(
                    f"an etcd runs as process {pid} that {self._layout.etcd_unit} has not started"
                )


def _strays(view: View) -> Iterator[tuple[str, Settings]]:
    """Yield the API servers that run in none of the units that are known, by what runs them."""
    found: Counter[str] = Counter()
    for pid, argv in sorted(view.servers.items()):
        services = re.findall(r"/([\w@.:\\-]+\.service)(?![^/\n])", view.groups[pid])
        if services and services[-1] in view.units:
            continue
        by = services[-1] if services else "static-pod" if "kubepods" in view.groups[pid] else "no-unit"
        found[by] += 1
        try:
            settings = about_etcd(_flags(argv))
        except ValueError:
            settings = {}
        yield by if found[by] == 1 else f"{by}-{found[by]}", settings


def _said(value: int, where: str) -> int:
    if not value:
        raise ValueError(f"{where} says nothing")
    return value


class _Newer(Exception):
    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path


def _flags(argv: Iterable[str]) -> Settings:
    return effective(flags_among(list(argv)[1:], prefix="etcd-"))
