"""What one look at a host has found, before anything is concluded from it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from etcdplan.hosts.listening import listening
from etcdplan.hosts.remote.script import Answer, readable
from etcdplan.hosts.remote.service import Machine, Service, service
from etcdplan.hosts.remote.unit_text import decode
from etcdplan.model.machine import Volume

_TICKS = 100
"""Ticks of process times in a second; Linux shows them in this unit on every machine that etcd runs on."""


LONGEST_KEPT = 1 << 20
"""Bytes of a file in etcdplan's own directory that a look brings; a longer one is asked for by itself."""


class NotLookedAt(Exception):
    """A file or directory is needed that nobody asked for; `argument` asks for it. Without one: look once more."""

    def __init__(self, argument: str = "") -> None:
        super().__init__(argument)
        self.argument = argument


@dataclass(frozen=True, slots=True)
class HostFile:
    """A file of the host. `mode` is octal, `owner` numeric (`0:0`), `changed` unix seconds by the host's clock."""

    content: bytes
    mode: str
    owner: str
    changed: int


@dataclass(frozen=True, slots=True)
class Program:
    """A program that a unit runs. `age` is seconds, `state` proc(5)'s letter; `ready` an API server's status line."""

    pid: int
    state: str
    age: float
    path: str
    argv: tuple[str, ...]
    environment: Mapping[str, str]
    ready: str = ""


@dataclass
class View:
    """Everything that was read. Directories that are not there have no names (None)."""

    now: float = 0.0
    uptime: float = 0.0
    machine: Machine = field(default_factory=lambda: Machine("", "", ""))
    files: dict[str, HostFile] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)
    trouble: list[str] = field(default_factory=list)
    units: dict[str, dict[str, str]] = field(default_factory=dict)
    programs: dict[str, Program] = field(default_factory=dict)
    strays: dict[int, tuple[str, ...]] = field(default_factory=dict)
    """Arguments of etcds that the unit has not started."""
    newcomers: set[int] = field(default_factory=set)
    """Those among them that came during the look: the unit may have started them after it was asked."""
    servers: dict[int, tuple[str, ...]] = field(default_factory=dict)
    """Arguments of kube-apiservers that are no unit's main process."""
    groups: dict[int, str] = field(default_factory=dict)
    """The control groups that those are in, as the kernel shows them (cgroups(7), `/proc/PID/cgroup`)."""
    held: set[str] = field(default_factory=set)
    drained: set[str] = field(default_factory=set)
    """API servers, by name, whose clients were routed away."""
    armed: set[str] = field(default_factory=set)
    fired: dict[str, str] = field(default_factory=dict)
    """What became of the dead-man of a unit, by unit."""
    kept: dict[str, bytes | tuple[str, ...] | None] = field(default_factory=dict)
    """Of etcdplan's own directory, by name there: contents, the names in directories, None for what is not there."""
    leafs: dict[str, tuple[bytes | None, bytes]] = field(default_factory=dict)
    """Certificate and public half of the key, by leaf; either is empty when it cannot be read."""
    names: dict[str, list[str] | None] = field(default_factory=dict)
    heads: dict[str, bytes] = field(default_factory=dict)
    volumes: dict[str, Volume] = field(default_factory=dict)
    memory: int = 0
    processors: int = 0
    """Bytes, and how many; 0 when the host did not say."""
    listening: tuple[tuple[str, int], ...] | None = None
    job: dict[str, bytes] = field(default_factory=dict)
    """What is to be said of what takes backups there, by what it is about."""
    program: bytes | None = None
    """What is to be said of the program that was asked about, one line a file; None when it is not there."""

    @property
    def silence(self) -> str:
        """What became of the question to systemd when it was not answered; empty when it was."""
        return next((text for text in self.trouble if text.startswith("systemctl: ")), "")

    def read(self, path: str) -> str | None:
        """Return a file's text, None when there is none; raise `ValueError`, or `NotLookedAt`."""
        file = self.file(path)
        return None if file is None else decode(file.content)

    def file(self, path: str) -> HostFile | None:
        """Return a file, None when there is none; raise `ValueError`, or `NotLookedAt`."""
        if path in self.files:
            return self.files[path]
        self.check(path)
        if path not in self.asked:
            raise NotLookedAt(f"+{path}")
        return None

    def directory(self, path: str) -> list[str] | None:
        """Return the names in a directory, None when there is none; raise `ValueError`, or `NotLookedAt`."""
        self.check(path)
        if path not in self.names:
            raise NotLookedAt(path)
        return self.names[path]

    def check(self, path: str) -> None:
        """Raise `ValueError` when the host had trouble with a path."""
        for text in self.trouble:
            if re.search(rf"{re.escape(path)}(?![\w/.-])", text):
                raise ValueError(text)

    def service(self, unit: str) -> Service | None:
        """Return a unit as its files make it, None when there is none; raise `ValueError`."""
        shown = self.units.get(unit)
        if shown is None:
            raise ValueError("; ".join(self.trouble) or f"systemd says nothing of {unit}")
        if spoilt := [text for text in self.trouble if unit in text]:
            raise ValueError(spoilt[0])
        found = service(unit, self._unit_files(), self.machine, self.read)
        state = shown.get("LoadState", "")
        if found is None and state != "not-found":
            raise ValueError(f"the file of {unit} is not where units are ({state})")
        if state in ("masked", "bad-setting", "error"):
            raise ValueError(f"systemd cannot use {unit}: {state}")
        return found

    def _unit_files(self) -> dict[str, bytes]:
        return {path: file.content for path, file in self.files.items() if "/systemd/system/" in path}


def parse(answer: Answer) -> View:
    """Read the answer to `inspect`; raise `ValueError` for one that no script of etcdplan gives."""
    view = View()
    sections: dict[tuple[str, str], bytes] = {}
    started: dict[str, tuple[int, str, int, str]] = {}
    ready: dict[str, str] = {}
    strays: dict[str, dict[int, int]] = {"etcd": {}, "kube-apiserver": {}}
    for line, content in answer.parts:
        kind, _, rest = line.partition(" ")
        words = rest.split(" ")
        match kind:
            case "gone":
                pass
            case "now":
                view.now = float(rest)
            case "system":
                boot, uptime, hostname, machine_id = words
                view.uptime = float(uptime)
                view.machine = Machine(hostname, machine_id.strip("-"), boot)
            case "asked":
                view.asked |= set(content.decode(errors="replace").split("\n"))
            case "trouble":
                view.trouble.append(readable(content))
            case "file":
                size, changed, mode, owner, path = rest.split(" ", 4)
                if len(content) == int(size):
                    view.files[path] = HostFile(content, mode, owner, int(changed))
                else:
                    view.trouble.append(f"{readable(path.encode())}: cannot be read as a whole")
            case "show":
                view.units = _shown(content.decode(errors="replace"))
            case "process":
                pid, state, start, unit, program = rest.split(" ", 4)
                started[unit] = int(pid), state, int(start), program
            case "cmdline" | "environ" | "public-key" | "cgroup":
                sections[kind, rest] = content
            case "certificate":
                view.leafs[rest] = content, b""
            case "no-certificate":
                view.leafs[rest] = None, b""
            case "kept-nothing":
                view.kept[rest] = None
            case "kept-names":
                view.kept[rest] = tuple(sorted(n for n in content.decode(errors="replace").split("\n") if n))
            case "kept":
                if len(content) <= LONGEST_KEPT:
                    view.kept[rest] = content
            case "kept-in-part":
                view.kept.pop(rest, None)
            case "ready":
                ready[rest] = readable(content)
            case "names":
                view.names[rest] = [n for n in content.decode(errors="replace").split("\n") if n]
            case "nothing":
                view.names[rest] = None
            case "head":
                view.heads[rest] = content
            case "machine":
                view.memory = int(words[0]) * 1024
                view.processors = int(words[1] or 0)
            case "listening":
                view.listening = listening(content.decode(errors="replace"))
            case "volume":
                if (volume := _volume(rest, content.decode(errors="replace"))) is not None:
                    view.volumes[rest] = volume
            case "installed":
                view.program = content
            case "job":
                view.job[rest] = content
            case "held":
                view.held.add(rest)
            case "drained":
                view.drained.add(rest)
            case "armed":
                view.armed.add(rest)
            case "fired":
                view.fired[rest] = readable(content)
            case "program":
                if words[2:] and words[2] in strays:
                    strays[words[2]][int(words[0])] = int(words[1])
            case _:
                raise ValueError(f"it has a line about {readable(kind.encode())!r}")
    for (_, name), key in ((known, part) for known, part in sections.items() if known[0] == "public-key"):
        if name in view.leafs:
            view.leafs[name] = view.leafs[name][0], key
    for unit, (number, letter, ticks, executable) in started.items():
        argv = tuple(_strings(sections.get(("cmdline", unit), b"")))
        given = (one.partition("=") for one in _strings(sections.get(("environ", unit), b"")))
        environment = {name: value for name, _, value in given}
        age = view.uptime - ticks / _TICKS
        status = ready.get(unit, "")
        view.programs[unit] = Program(number, letter, age, executable, argv, environment, status)
    ours = {program.pid for program in view.programs.values()}
    view.strays, view.servers = (
        {pid: tuple(_strings(sections.get(("cmdline", str(pid)), b""))) for pid in found if pid not in ours}
        for found in strays.values()
    )
    view.newcomers = {pid for pid in view.strays if strays["etcd"][pid] / _TICKS > view.uptime}
    view.groups = {
        pid: sections.get(("cgroup", str(pid)), b"").decode(errors="replace") for pid in view.servers
    }
    return view


def _volume(path: str, text: str) -> Volume | None:
    """Read `stat -f` and whether the disk spins; None when there was no answer."""
    numbers, _, spins = text.partition("\n")
    if not spins:
        return None
    free, blocks, size, kind = numbers.split(" ", 3)
    turns = {"0": False, "1": True}.get(spins)
    return Volume(path, int(free) * int(size), int(blocks) * int(size), kind, turns)


def _strings(content: bytes) -> list[str]:
    return [part.decode(errors="replace") for part in content.split(b"\0")[:-1]]


def _shown(text: str) -> dict[str, dict[str, str]]:
    """Read `systemctl show` of several units: blocks of lines with blank ones between."""
    units: dict[str, dict[str, str]] = {}
    for block in text.split("\n\n"):
        pairs = (line.partition("=") for line in block.splitlines())
        values = {name: value for name, equals, value in pairs if equals}
        if "Id" in values:
            units[values["Id"]] = values
    return units
