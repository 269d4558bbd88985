"""A small `systemctl` for a host that is a directory: units are files below it, programs are sleeping processes.

Arguments: the root, then systemctl's. Behaviour of a unit's program is in `fake/UNIT.mode`: `fail` ends with status 1
each time, `missing` is status 203, `stubborn` ignores SIGTERM, `unhurried` takes two seconds for it, `slow` is there
after a moment only.
"""

import os
import re
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

ROOT = Path(sys.argv[1])
FAKE = ROOT / "fake"
SYSTEM = [ROOT / place / "systemd/system" for place in ("etc", "run", "usr/lib", "lib")]


def note(unit: str, name: str, text: str | None = None) -> str:
    path = FAKE / f"{unit}.{name}"
    if text is not None:
        path.write_text(text)
        return text
    return path.read_text() if path.exists() else ""


def drop(unit: str, *names: str) -> None:
    for name in names:
        (FAKE / f"{unit}.{name}").unlink(missing_ok=True)


def files_of(unit: str) -> list[Path]:
    names = (unit, re.sub("@.*", "@.service", unit))
    found = [place / name for name in names for place in SYSTEM if (place / name).exists()][:1]
    return found + [conf for place in SYSTEM for conf in sorted(place.glob(f"{unit}.d/*.conf"))]


def running(unit: str) -> int:
    pid, _, start = note(unit, "pid").partition(" ")
    if not pid:
        return 0
    try:
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(pid) if stat[19] == start and stat[0] not in "ZX" else 0


def show(unit: str) -> list[str]:
    files = files_of(unit)
    pid = running(unit)
    user = re.findall(r"^User=(.*)$", "".join(f.read_text() for f in files), re.MULTILINE)
    result = note(unit, "result") or "success"
    if note(unit, "pid") and not pid and result == "success":
        result = note(unit, "result", "signal")
    active = "active" if pid else "failed" if result != "success" else "inactive"
    if note(unit, "auto-restart"):
        active = "activating"
    return [
        f"Id={unit}",
        f"LoadState={'loaded' if files else 'not-found'}",
        f"ActiveState={active}",
        f"MainPID={pid}",
        f"Result={result}",
        f"ExecMainPID={(note(unit, 'pid') or '0').split()[0]}",
        f"ExecMainStatus={note(unit, 'status') or 0}",
        f"InvocationID={note(unit, 'invocation')}",
        f"User={user[-1] if user else ''}",
        *(f"ExecStart={{ path={command.split()[0]} ; argv[]={command} ; }}" for command in commands_of(unit)),
    ]


def conditions(unit: str) -> bool:
    text = "".join(file.read_text() for file in files_of(unit))
    return not any(
        (ROOT / path.lstrip("/")).exists() for path in re.findall(r"ConditionPathExists=!(.*)", text)
    )


def commands_of(unit: str) -> list[str]:
    from_files = "".join(file.read_text() for file in files_of(unit)).replace("\\\n", " ")
    instance = unit.removesuffix(".service").partition("@")[2]
    return re.findall(r"^ExecStart=(.+)$", from_files.replace("%i", instance), re.MULTILINE)


def start(unit: str) -> int:
    from_files = "".join(file.read_text() for file in files_of(unit)).replace("\\\n", " ")
    commands = commands_of(unit)
    note(unit, "starts", str(int(note(unit, "starts") or 0) + 1))
    if not commands:
        print(f"Failed to start {unit}: Unit not found.", file=sys.stderr)
        return 5
    if running(unit):
        return 0
    if not conditions(unit):
        return 0
    note(unit, "invocation", uuid.uuid4().hex)
    mode = note(unit, "mode").strip()
    argv = commands[-1].split()
    code = {
        "stubborn": "trap '' TERM; while :; do sleep 1000; done",
        "unhurried": "trap 'sleep 2; exit' TERM; while :; do sleep 0.1; done",
    }.get(mode, "exec sleep 1000")
    process = subprocess.Popen(
        ["/bin/sh", "-c", code],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        close_fds=True,
        preexec_fn=lambda: [signal.signal(n, signal.SIG_DFL) for n in (1, 2, 13, 15)],
    )
    stat = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    note(unit, "pid", f"{process.pid} {stat[19]}")
    drop(unit, "result", "status")
    place = ROOT / "proc" / str(process.pid)
    place.mkdir(parents=True)
    (place / "stat").symlink_to(f"/proc/{process.pid}/stat")
    (place / "exe").symlink_to(argv[0])
    (place / "cmdline").write_text("".join(f"{part}\0" for part in argv))
    environment = re.findall(r'^Environment="?([A-Z_]+=.*?)"?$', from_files, re.MULTILINE)
    for file in re.findall(r"^EnvironmentFile=-?(.*)$", from_files, re.MULTILINE):
        path = ROOT / file.lstrip("/")
        environment += re.findall(r"^([A-Z_]+=.*)$", path.read_text(), re.MULTILINE) if path.exists() else []
    (place / "environ").write_text("".join(f"{one}\0" for one in environment))
    if mode in ("fail", "missing"):
        os.kill(process.pid, 9)
        note(unit, "result", "exit-code")
        note(unit, "status", "1" if mode == "fail" else "203")
    return 0


def stop(unit: str, number: int) -> int:
    pid = running(unit)
    drop(unit, "auto-restart")
    if pid:
        os.kill(pid, number)
        deadline = time.monotonic() + 2
        while running(unit) and time.monotonic() < deadline:
            time.sleep(0.005)
        if not running(unit):
            note(unit, "result", "success" if number == 15 else "signal")
    return 0


def timer(verb: str, unit: str) -> int:
    if verb == "show":
        print(f"ActiveState={note(unit, 'active') or 'inactive'}")
        print(f"UnitFileState={note(unit, 'enabled')}d")
        return 0
    if verb in ("enable", "disable"):
        note(unit, "enabled", verb)
    if verb in ("restart", "disable"):
        note(unit, "active", "active" if verb == "restart" else "inactive")
    return 0


def main() -> int:
    FAKE.mkdir(exist_ok=True)
    with (FAKE / "log").open("a") as log:
        log.write(" ".join(sys.argv[2:]) + "\n")
    verb, *rest = sys.argv[2:]
    units = [word for word in rest if word.endswith(".service")]
    if (FAKE / "broken").exists():
        print("Failed to connect to bus: No such file or directory", file=sys.stderr)
        return 1
    if timers := [word for word in rest if word.endswith(".timer")]:
        return timer(verb, timers[0])
    if verb == "show":
        wanted = next((word.split(",") for word in rest if "," in word or word == "User"), [])
        if "--value" in rest:
            print(*[line.partition("=")[2] for line in show(units[0]) if line.startswith("User=")])
            return 0
        blocks = ["\n".join(line for line in show(unit) if line.split("=")[0] in wanted) for unit in units]
        print("\n\n".join(blocks))
        return 0
    if verb == "start":
        return start(units[0])
    if verb == "restart":
        return stop(units[0], 15) or start(units[0])
    if verb == "try-restart" and running(units[0]):
        if "--no-block" in rest:
            again = [sys.executable, __file__, sys.argv[1], verb, units[0]]
            subprocess.Popen(
                again, start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
            )
            return 0
        stop(units[0], 15)
        while running(units[0]):
            time.sleep(0.01)
        return start(units[0])
    if verb == "stop":
        return stop(units[0], 15)
    if verb == "kill":
        return stop(units[0], 9)
    if verb == "reset-failed":
        drop(units[0], "result", "status", *(() if running(units[0]) else ("pid",)))
        return 0
    if verb in ("enable", "disable"):
        note(units[0], "enabled", verb)
        return 0
    return 0


sys.exit(main())
