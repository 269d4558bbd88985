"""Units and environment files: what is read is what real systemd gives to the program, or is an error."""

import base64
import random
from collections.abc import Iterator

import pytest

from etcdplan.hosts.remote.service import Machine, service
from tests.bed import Bed, Host

pytestmark = pytest.mark.bed

CASES = 300
DUMP = """#!/bin/sh
cp /proc/$$/cmdline "/run/dump/${0##*/}.argv"
cp /proc/$$/environ "/run/dump/${0##*/}.env"
"""


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with Bed(bare=1) as bed:
        yield bed.host(1)


def some(rng: random.Random, parts: list[str], most: int) -> str:
    return "".join(rng.choice(parts) for _ in range(rng.randint(0, most)))


def unit(rng: random.Random, number: int) -> tuple[str, str, str]:
    """Return a unit, a drop-in and an environment file that are hard to read."""
    value = [
        "a",
        "b",
        "1",
        "/x",
        "é",
        " ",
        '"',
        "'",
        "\\\\",
        '\\"',
        "$",
        "#",
        ";",
        "=",
        "%%",
        "%n",
        "\\\n",
        "\\x41",
        "\t",
    ]
    words = [*value, "$V", "${V}", "$$", " $V ", " ${W} ", " --flag=", ' "--x=1 2" ', "%H", "%p"]
    raw = [
        "a",
        "1",
        "/x",
        "é",
        " ",
        '"',
        "'",
        "\\",
        "$",
        "`",
        "#",
        ";",
        "=",
        "\n",
        "\nV=",
        "\nW=",
        "\nETCD_B=",
        "\t",
        "\\\n",
    ]
    lines = [f"Environment=V={some(rng, value, 4)} ETCD_A={some(rng, value, 4)}", "Environment=W=w"]
    lines += [f'Environment="V={some(rng, value, 3)}" X=1'] if rng.random() < 0.3 else []
    lines += ["Environment="] if rng.random() < 0.05 else []
    lines += [f"UnsetEnvironment={rng.choice(['V', 'W=w', 'W=x', 'ETCD_A'])}"] if rng.random() < 0.2 else []
    lines += [f"EnvironmentFile=-/etc/env-{number}"]
    rng.shuffle(lines)
    prefix = rng.choice(["", "", "", "-", ":", "+"])
    command = f"ExecStart={prefix}/usr/local/bin/dump-{number} {some(rng, words, 8)}"
    text = "\n".join(["[Service]", "Type=oneshot", *lines, command, ""])
    drop_in = f"[Service]\nExecStart=\n{command} --drop-in\n" if rng.random() < 0.2 else ""
    return text, drop_in, f"ETCD_F={some(rng, raw, 10)}"


def test_what_is_read_is_what_systemd_gives(host: Host) -> None:
    rng, machine_id = random.Random(11), host.exec("cat", "/etc/machine-id").stdout.strip()
    machine = Machine(
        host.name, machine_id, host.exec("cat", "/proc/sys/kernel/random/boot_id").stdout.strip()
    )
    host.exec("mkdir", "-p", "/run/dump")
    host.put("/usr/local/bin/dump", DUMP, 0o755)
    files: dict[int, dict[str, str]] = {}
    script = []
    for number in range(CASES):
        text, drop_in, environment = unit(rng, number)
        files[number] = {
            f"/etc/systemd/system/dump-{number}.service": text,
            f"/etc/env-{number}": environment,
        }
        if drop_in:
            files[number][f"/etc/systemd/system/dump-{number}.service.d/x.conf"] = drop_in
        for path, content in files[number].items():
            script.append(
                f"mkdir -p {path.rpartition('/')[0]}; cat >{path} <<'END_OF_FILE'\n{content}\nEND_OF_FILE"
            )
            files[number][path] = content + "\n"
        script.append(f"ln -s dump /usr/local/bin/dump-{number}")
    script.append("systemctl daemon-reload")
    script += [f"systemctl start dump-{number} 2>/dev/null" for number in range(CASES)]
    host.exec("sh", "-s", stdin="\n".join([*script, "true"]), timeout=120)
    names = host.exec("ls", "/run/dump").stdout.split()
    dumps = host.exec(
        "sh", "-c", 'cd /run/dump && for f; do base64 -w0 "$f"; echo; done', "sh", *names
    ).stdout.split("\n")
    given = {name: _strings(dump) for name, dump in zip(names, dumps, strict=False)}
    read = 0
    for number, texts in files.items():
        units = {path: text.encode() for path, text in texts.items() if "/systemd/" in path}
        found = service(f"dump-{number}.service", units, machine, texts.get)
        assert found is not None
        try:
            argv = [argument.text for argument in found.command().arguments]
            environment = {name: setting.value for name, setting in found.environment().items()}
        except ValueError:
            continue
        if f"dump-{number}.argv" not in given:
            # systemd does not start it at all.
            continue
        read += 1
        real = dict(one.partition("=")[::2] for one in given[f"dump-{number}.env"])
        assert argv == given[f"dump-{number}.argv"][2:], texts
        ours = environment.keys() | {n for n in real if n in ("V", "W", "X") or n.startswith("ETCD_")}
        assert environment == {name: real.get(name) for name in ours}, texts
    assert read > CASES / 4, "most cases were not readable, so nothing was tried"


def _strings(dump: str) -> list[str]:
    return [part.decode() for part in base64.b64decode(dump).split(b"\0")[:-1]]
