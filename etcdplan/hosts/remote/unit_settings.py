"""The settings that a service's files give to etcd, or to an API server about etcd, and changing them where they stand.

A flag that is in the command line, in a variable of an environment file, or an `ETCD_*` variable stays that; a new one
goes where the others are. So no setting is ever both a flag and a variable, which etcd refuses (etcd `pkg/flags`,
verifyEnv: even when both say the same).
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from etcdplan.hosts.remote import env_file, unit_text
from etcdplan.hosts.remote.config_file import read_config, write_config
from etcdplan.hosts.remote.flag_words import Flag, change_flags, effective, flags_among
from etcdplan.hosts.remote.service import Argument, Command, Reader, Service
from etcdplan.hosts.remote.unit_text import Spanned, Word
from etcdplan.model.state import Settings

SYSTEM = "/etc/systemd/system"

_ETCD = "etcd"
_PREFIX = "ETCD_"
_NO_FLAGS = ("ETCD_UNSUPPORTED_ARCH",)
_PLAIN = re.compile(r"[A-Za-z0-9@%+=:,./_\[\]*;#~-]+")
"""What reads the same in an environment file, however it is quoted there."""


def variable_of(flag: str) -> str:
    """Return the environment variable of an etcd flag."""
    return _PREFIX + flag.upper().replace("-", "_")


def flags_in(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what etcd's variables set, by flag; an empty one sets nothing but stands in a flag's way."""
    return {
        name.removeprefix(_PREFIX).lower().replace("_", "-"): value
        for name, value in environment.items()
        if name.startswith(_PREFIX) and name not in _NO_FLAGS
    }


def etcd_settings(arguments: Sequence[str], environment: Mapping[str, str], read: Reader) -> Settings:
    """Return etcd's settings from its arguments (without the program) and environment; raise `ValueError`."""
    flags, variables = effective(flags_among(arguments)), flags_in(environment)
    if both := sorted(flags.keys() & variables.keys()):
        raise ValueError(f"--{both[0]} and {variable_of(both[0])} are both set, which etcd refuses")
    settings = {**{flag: value for flag, value in variables.items() if value}, **flags}
    if not settings.get("config-file"):
        return settings
    file = settings["config-file"]
    text = read(file)
    if text is None:
        raise ValueError(f"etcd's configuration file {file} is missing")
    try:
        return read_config(text)
    except ValueError as error:
        raise ValueError(f"{file} is not etcd's configuration: {error}") from error


def about_etcd(settings: Settings) -> Settings:
    """Return the flags of an API server that are about etcd."""
    return {flag: value for flag, value in settings.items() if flag.startswith("etcd-")}


def on_disk(service: Service, *, etcd: bool) -> Settings:
    """Return the settings that the service's files give; raise `ValueError` when they do not say it."""
    command = _command(service, etcd=etcd)
    arguments = [argument.text for argument in command.arguments]
    if etcd:
        environment = {name: setting.value for name, setting in service.environment().items()}
        return etcd_settings(arguments, environment, service.read)
    return about_etcd(effective(flags_among(arguments, prefix="etcd-")))


def changed_files(service: Service, wanted: Settings, *, etcd: bool) -> dict[str, str]:
    """Return the files to write, by path, so that `on_disk` is `wanted`; raise `ValueError` when it cannot be.

    Of an API server only the flags about etcd are changed.
    """
    if any(not value.isprintable() or not flag for flag, value in wanted.items()):
        raise ValueError("a setting is not one printable line")
    current = on_disk(service, etcd=etcd)
    if current == wanted:
        return {}
    change = _Change(service, _command(service, etcd=etcd), dict(wanted), etcd)
    if etcd and (file := change.config_file()):
        return {file: write_config(service.read(file) or "", wanted)}
    return change.files()


def _command(service: Service, *, etcd: bool) -> Command:
    command, expected = service.command(), _ETCD if etcd else "kube-apiserver"
    if PurePosixPath(command.program).name != expected:
        raise ValueError(f"{service.name} starts {command.program}, not {expected}")
    return command


@dataclass(frozen=True)
class _Change:
    service: Service
    command: Command
    wanted: dict[str, str]
    etcd: bool
    assigned: dict[str, str | None] = field(default_factory=dict)
    """Environment variables to set, or None to remove."""

    def config_file(self) -> str:
        """Return the configuration file, if etcd has one."""
        given = flags_in({name: one.value for name, one in self.service.environment().items()})
        return {**given, **effective(flags_among(self._texts()))}.get("config-file", "")

    def files(self) -> dict[str, str]:
        flags = [
            flag
            for flag in flags_among(self._texts(), prefix="" if self.etcd else "etcd-")
            if self.etcd or flag.name.startswith("etcd-")
        ]
        variables = self._variables() if self.etcd else {}
        places: dict[str, list[Flag]] = {}
        for flag in flags:
            places.setdefault(self._place(flag), []).append(flag)
        new = [name for name in self.wanted if name not in {f.name for f in flags} and name not in variables]
        home = self._home(places, variables)
        if home is not None:
            places.setdefault(home, [])
        for name, value in variables.items():
            if self.wanted.get(name, "") != value:
                self.assigned[variable_of(name)] = self.wanted.get(name)
        if home is None:
            self.assigned.update({variable_of(name): self.wanted[name] for name in new})
        texts: dict[str, str] = {}
        for place, its_flags in places.items():
            its_wanted = {flag.name: self.wanted[flag.name] for flag in its_flags if flag.name in self.wanted}
            if place == home:
                its_wanted |= {name: self.wanted[name] for name in new}
            if place:
                self._change_variable(place, its_flags, its_wanted, texts)
            else:
                self._change_command(its_flags, its_wanted, texts)
        self._assign(texts)
        return texts

    def _texts(self) -> list[str]:
        return [argument.text for argument in self.command.arguments]

    def _variables(self) -> dict[str, str]:
        return flags_in({name: one.value for name, one in self.service.environment().items()})

    def _place(self, flag: Flag) -> str:
        """Return the variable that a flag is in; empty for the command line."""
        first, last = self.command.arguments[flag.first], self.command.arguments[flag.last]
        places = {"" if argument.inline else argument.variable for argument in (first, last)}
        if len(places) > 1:
            raise ValueError(f"--{flag.name} and its value are in different places")
        return places.pop()

    def _home(self, places: Mapping[str, Sequence[Flag]], variables: Mapping[str, str]) -> str | None:
        """Return where new settings go: as flags, as `places` has them, or None for etcd's variables."""
        servers = [place for place, flags in places.items() if any(f.name == "etcd-servers" for f in flags)]
        if not (self.etcd or places):
            # The first flags about etcd go where all its others are, if that is one place.
            others = {self._place(flag) for flag in flags_among(self._texts())}
            return others.pop() if len(others) == 1 else ""
        if servers or "" in places or not (places or variables or self._files()):
            return servers[0] if servers else ""
        if not self.etcd:
            return next(iter(places), "")
        return next(iter(places)) if places else None

    def _files(self) -> list[str]:
        return [file for file, _ in self.service.environment_files()] if self.etcd else []

    def _change_command(self, flags: list[Flag], wanted: Mapping[str, str], texts: dict[str, str]) -> None:
        kept = dict(wanted)
        for flag in flags:
            argument = self.command.arguments[flag.first]
            found = self.service.environment().get(argument.variable) if argument.inline else None
            alone = sum(other.name == flag.name for other in flags) == 1
            if found and found.file and alone and flag.value != wanted.get(flag.name, flag.value):
                self.assigned[argument.variable] = wanted[flag.name]
                kept[flag.name] = flag.value
        index = {word.start: number for number, word in enumerate(self.command.words)}
        here = [
            Flag(
                flag.name,
                flag.value,
                index[self.command.arguments[flag.first].word.start],
                index[self.command.arguments[flag.last].word.start],
            )
            for flag in flags
        ]
        value = self.command.value
        start = value.at[0]
        words = [Word(word.text, word.start - start, word.end - start) for word in self.command.words]
        raw = self.service.files[self.command.file][start : value.after]
        changed = change_flags(raw, words, here, kept, unit_text.quoted)
        if changed == raw:
            return
        if self.command.file.startswith(f"{SYSTEM}/"):
            text = self.service.files[self.command.file]
            texts[self.command.file] = text[:start] + changed + text[value.after :]
        else:
            # A package's own file is not changed: its next version would bring the old one back.
            texts[f"{SYSTEM}/{self.service.name}.d/zz-etcdplan.conf"] = (
                f"[Service]\nExecStart=\nExecStart={changed}\n"
            )

    def _change_variable(
        self, name: str, flags: list[Flag], wanted: Mapping[str, str], texts: dict[str, str]
    ) -> None:
        """Change the flags in a variable whose value is words of the command line."""
        setting = self.service.environment().get(name)
        here = self._relative(name, flags)
        if setting is None or setting.file is None:
            value = setting.value if setting else ""
            words = unit_text.split_words(Spanned(value, tuple(range(len(value))), len(value)))
            self.assigned[name] = change_flags(value, words, here, wanted, _plain)
            return
        text = texts.get(setting.file, self.service.read(setting.file) or "")
        found = [one for one in env_file.assignments(text) if one.name == name][-1]
        words = unit_text.split_words(found.value)
        if not words:
            self.assigned[name] = " ".join(_plain(f"--{flag}={value}") for flag, value in wanted.items())
            return
        words = [Word(word.text, word.start - found.start, word.end - found.start) for word in words]
        raw = text[found.start : found.end]
        texts[setting.file] = (
            text[: found.start] + change_flags(raw, words, here, wanted, _plain) + text[found.end :]
        )

    def _relative(self, name: str, flags: list[Flag]) -> list[Flag]:
        def of_variable(argument: Argument) -> bool:
            return argument.variable == name and not argument.inline

        begin = next((n for n, argument in enumerate(self.command.arguments) if of_variable(argument)), 0)
        return [Flag(flag.name, flag.value, flag.first - begin, flag.last - begin) for flag in flags]

    def _assign(self, texts: dict[str, str]) -> None:
        """Set and remove environment variables: in the environment file, else in a drop-in."""
        if not self.assigned:
            return
        now, own = self.service.environment(), f"{SYSTEM}/{self.service.name}.d/zz-etcdplan-environment.conf"
        of_units = self.service.unit_environment(without=own)
        files = [file for file, _ in self.service.environment_files()]
        if not files:
            names = {name for name in [*of_units, *now] if name.startswith(_PREFIX) and name not in _NO_FLAGS}
            values = {name: now[name].value if name in now else None for name in names} | self.assigned
            texts[own] = _drop_in(values, of_units)
            return
        for file in dict.fromkeys(files):
            text = texts.get(file, self.service.read(file) or "")
            there = env_file.environment(text)
            values = {}
            for name, value in self.assigned.items():
                setting = now.get(name)
                target = setting.file if setting and setting.file else files[-1]
                if value is None and name in there:
                    values[name] = "" if name in of_units else None
                elif value is None and name in of_units and file == files[-1]:
                    values[name] = ""
                elif value is not None and file == target:
                    values[name] = value
            changed = env_file.assign(text, values)
            if changed != text:
                texts[file] = changed


def _plain(word: str) -> str:
    if not _PLAIN.fullmatch(word):
        raise ValueError(f"{word!r} cannot be written into an environment variable as it is")
    return word


def _drop_in(values: Mapping[str, str | None], of_units: Collection[str]) -> str:
    lines = ["# Written by etcdplan, and written again when a setting changes.", "[Service]"]
    for name, value in sorted(values.items()):
        if value is not None:
            escaped = f"{name}={value}".replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
            lines.append(f'Environment="{escaped}"')
        elif name in of_units:
            lines.append(f"UnsetEnvironment={name}")
    return "".join(f"{line}\n" for line in lines)
