"""A service of systemd as its files make it: what is executed, with which arguments and environment, and from where.

Drop-ins override as systemd has it. What this cannot be sure of raises `ValueError`, never a guess. Source:
systemd.service(5), systemd.exec(5), systemd.unit(5).
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from etcdplan.hosts.remote import env_file
from etcdplan.hosts.remote.unit_text import Spanned, Word, decode, directives, split_words

_VARIABLE = re.compile(r"\$(?![{$])(.*)", re.DOTALL)
_BRACED = re.compile(r"\$\$|\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_INLINE = re.compile(r"--?[A-Za-z0-9_-]+=\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_PLACES = ("etc", "run", "usr/local/lib", "usr/lib", "lib")

Reader = Callable[[str], str | None]
"""Returns the text of a file of the host, None for none; raises `ValueError` for one that cannot be read."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What specifiers of units stand for."""

    hostname: str
    machine_id: str
    boot_id: str


@dataclass(frozen=True, slots=True)
class Setting:
    """The value of an environment variable; `file` is an environment file, or None when it is from a unit file."""

    value: str
    file: str | None


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument. It is `word` of the command line, or one of the words in `variable`, or has it as its value.

    `inline`: the word is `--flag=${variable}`.
    """

    text: str
    word: Word
    variable: str = ""
    inline: bool = False


@dataclass(frozen=True, slots=True)
class Command:
    """The one `ExecStart`: where it is, and what it executes."""

    file: str
    value: Spanned
    program: str
    words: tuple[Word, ...]
    arguments: tuple[Argument, ...]


@dataclass(frozen=True, slots=True)
class Service:
    """A service. `files` are its unit file and drop-ins in the order in which they count, with their texts."""

    name: str
    files: Mapping[str, str]
    machine: Machine
    read: Reader = field(repr=False)

    def command(self) -> Command:
        """Return what is executed."""
        found: list[tuple[str, Spanned]] = []
        for file, name, value in self._directives():
            if name == "ExecStart":
                found = [*found, (file, value)] if value.text else []
        if len(found) != 1:
            raise ValueError(
                f"{self.name} has {len(found) or 'no'} commands to start" + "s" * (len(found) > 1)
            )
        file, value = found[0]
        words = self._split(value)
        program = words[0].text.lstrip("@-:+!|") if words else ""
        prefix = words[0].text[: len(words[0].text) - len(program)] if words else ""
        if not program.startswith("/") or "@" in prefix or any(word.text == ";" for word in words):
            raise ValueError(f"what {self.name} starts, {value.text!r}, is not one program with its path")
        arguments = [argument for word in words[1:] for argument in self._expanded(word, plain=":" in prefix)]
        return Command(file, value, self._specified(program), tuple(words), tuple(arguments))

    def environment(self) -> dict[str, Setting]:
        """Return the environment that the units and their environment files set."""
        found = self.unit_environment()
        for file, optional in self.environment_files():
            text = self.read(file)
            if text is None:
                if not optional:
                    raise ValueError(f"{file}, an environment file of {self.name}, is missing")
                continue
            try:
                found |= {name: Setting(value, file) for name, value in env_file.environment(text).items()}
            except ValueError as error:
                raise ValueError(f"{file} has {error}") from error
        for entry in self._words("UnsetEnvironment"):
            name, equals, value = entry.partition("=")
            if name in found and (not equals or found[name].value == value):
                del found[name]
        if strange := [name for name in self._words("PassEnvironment") if name.startswith("ETCD_")]:
            raise ValueError(f"{self.name} passes {strange[0]} on from systemd's own environment")
        return found

    def unit_environment(self, *, without: str = "") -> dict[str, Setting]:
        """Return what `Environment=` sets, before any environment file; `without` one of the unit's files."""
        entries = (word.partition("=") for word in self._words("Environment", without=without))
        return {
            name: Setting(value, None) for name, equals, value in entries if equals and _NAME.fullmatch(name)
        }

    def environment_files(self) -> list[tuple[str, bool]]:
        """Return the environment files, and whether each may be missing."""
        found: list[tuple[str, bool]] = []
        for _, name, value in self._directives():
            if name == "EnvironmentFile":
                path = self._specified(value.text.removeprefix("-"))
                if value.text and (not path.startswith("/") or any(char in path for char in "*?[ \t")):
                    raise ValueError(
                        f"{self.name} has an EnvironmentFile={value.text!r}, which is not one path"
                    )
                found = [*found, (path, value.text.startswith("-"))] if value.text else []
        return found

    def _directives(self) -> Iterator[tuple[str, str, Spanned]]:
        for file, text in self.files.items():
            try:
                found = list(directives(text))
            except ValueError as error:
                raise ValueError(f"{file} has {error}") from error
            yield from ((file, one.name, one.value) for one in found if one.section == "Service")

    def _words(self, wanted: str, *, without: str = "") -> list[str]:
        found: list[str] = []
        for file, name, value in self._directives():
            if name == wanted and file != without:
                words = [self._specified(word.text) for word in self._split(value)]
                found = [*found, *words] if value.text else []
        return found

    def _split(self, value: Spanned) -> list[Word]:
        try:
            return split_words(value)
        except ValueError as error:
            raise ValueError(f"{self.name} has {error} in {value.text!r}") from error

    def _specified(self, text: str) -> str:
        """Resolve specifiers."""
        full = self.name.removesuffix(".service")
        prefix, _, instance = full.partition("@")
        values = {
            "%": "%",
            "n": self.name,
            "N": full,
            "p": prefix,
            "i": instance,
            "H": self.machine.hostname,
            "l": self.machine.hostname.partition(".")[0],
            "m": self.machine.machine_id,
            "b": self.machine.boot_id.replace("-", ""),
            "t": "/run",
            "S": "/var/lib",
            "C": "/var/cache",
            "L": "/var/log",
            "E": "/etc",
        }

        def value(match: re.Match[str]) -> str:
            if not values.get(match[1]):
                raise ValueError(f"{self.name} uses the specifier {match[0]!r}")
            return values[match[1]]

        return re.sub(r"%(.|$)", value, text, flags=re.DOTALL)

    def _expanded(self, word: Word, *, plain: bool) -> Iterator[Argument]:
        """Yield the arguments that a word of the command line becomes."""
        text = self._specified(word.text)
        if plain:
            yield Argument(text, word)
        elif match := _VARIABLE.fullmatch(text):
            value = self._value(match[1])
            if "\\" in value:
                raise ValueError(f"{match[1]} of {self.name} has a backslash")
            for part in split_words(Spanned(value, tuple(range(len(value))), len(value))):
                yield Argument(part.text, part, variable=match[1])
        else:
            inline = _INLINE.fullmatch(text)
            name = inline[1] if inline else ""
            value = _BRACED.sub(lambda match: self._value(match[1]) if match[1] else "$", text)
            yield Argument(value, word, variable=name, inline=bool(name))

    def _value(self, variable: str) -> str:
        found = self.environment().get(variable)
        return found.value if found else ""


def service(name: str, files: Mapping[str, bytes], machine: Machine, read: Reader) -> Service | None:
    """Return a service from the unit files of a host by their paths; None when it has no unit file.

    Raises `ValueError` for files that cannot be read.
    """
    template = re.sub(r"@.*(?=\.service$)", "@", name)
    units = [f"/{place}/systemd/system/{unit}" for unit in (name, template) for place in _PLACES]
    unit = next((path for path in units if path in files), None)
    if unit is None:
        return None
    drop_ins: dict[str, str] = {}
    for directory in _drop_in_directories(name, template):
        for place in _PLACES:
            prefix = f"/{place}/systemd/system/{directory}/"
            for path in files:
                if path.startswith(prefix) and path.endswith(".conf"):
                    drop_ins.setdefault(path.removeprefix(prefix), path)
    paths = [unit, *(drop_ins[base] for base in sorted(drop_ins))]
    texts: dict[str, str] = {}
    for path in paths:
        try:
            texts[path] = decode(files[path])
        except ValueError as error:
            raise ValueError(f"{path} cannot be read as text") from error
    return Service(name, texts, machine, read)


def _drop_in_directories(name: str, template: str) -> Sequence[str]:
    """Return the directories of drop-ins, the most specific first: it wins where names are the same."""
    full = template.removesuffix(".service").removesuffix("@")
    parts = full.split("-")
    prefixes = ["-".join(parts[:count]) + "-.service" for count in range(len(parts) - 1, 0, -1)]
    return [f"{one}.d" for one in dict.fromkeys([name, template, *prefixes, "service"])]
