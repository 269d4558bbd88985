"""etcd's program on a systemd host: how it gets there, how it is seen, and how a unit is pointed at it."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace

from etcdplan.hosts.ports import Claim, ProgramFiles
from etcdplan.hosts.remote.once import Effects
from etcdplan.hosts.remote.service import Service
from etcdplan.hosts.remote.unit_settings import SYSTEM


def install(effects: Effects, claim: Claim, program: ProgramFiles) -> None:
    """Send the files and have them put in place as a whole."""
    arguments = [program.path.rpartition("/")[0], program.version]
    for name, content in program.files.items():
        arguments += [name, str(len(content)), hashlib.sha256(content).hexdigest()]
    stream = b"".join(program.files.values())
    what = f"install etcd {program.version}"
    effects.do(claim, "install-program", what, *arguments, stream=stream, script="program")


def installed(seen: bytes | None, path: str) -> str | None:
    """Return the program's path when the program is what it was when it came; None when it is not there or damaged."""
    found, *came = (seen or b"").decode(errors="replace").splitlines() or [""]
    name = path.rpartition("/")[2]
    wanted = [line.split()[0] for line in came if line.split()[1:] == [name]]
    return path if wanted and found.split()[:1] == wanted else None


def changed_program(service: Service, texts: Mapping[str, str], program: str) -> Mapping[str, str]:
    """Return the files to write, by path, so that the service starts this program; `texts` are changed already."""
    service = replace(service, files={**service.files, **_units(texts)})
    command = service.command()
    if command.program == program:
        return texts
    first, text = command.words[0], service.files[command.file]
    prefix = first.text[: len(first.text) - len(first.text.lstrip("@-:+!|"))]
    if command.file.startswith(f"{SYSTEM}/"):
        return {**texts, command.file: text[: first.start] + prefix + program + text[first.end :]}
    rest = text[first.end : command.value.after]
    drop_in = f"[Service]\nExecStart=\nExecStart={prefix}{program}{rest}\n"
    return {**texts, f"{SYSTEM}/{service.name}.d/zz-etcdplan.conf": drop_in}


def _units(texts: Mapping[str, str]) -> dict[str, str]:
    return {path: text for path, text in texts.items() if "/systemd/system/" in path}
