"""Ansible, to compare with: `ansible -m setup` on hosts of the test bed, which have Python for that alone."""

import os
import subprocess
import sys
from pathlib import Path

from etcdplan.lab.cached_build import Build, CacheEntry, cache_dir
from tests.support.fleet import Fleet

VERSION = "2.17.14"


def ansible() -> tuple[str, ...]:
    """Return the command; its environment is made once, by pip."""

    def build(build: Build) -> None:
        pip = str(build.output / "bin/pip")
        for command in (
            [sys.executable, "-m", "venv", str(build.output)],
            [pip, "install", "--quiet", "--only-binary", ":all:", f"ansible-core=={VERSION}"],
        ):
            build.run(command, cwd=build.scratch, env=dict(os.environ))

    entry = CacheEntry(
        cache_dir() / "ansible" / VERSION,
        title=f"ansible-core {VERSION}",
        problem=lambda directory: "" if _runs(directory) else "it does not run",
        otherwise="leave it out",
        report=lambda line: print(line, file=sys.stderr),
    )
    # Its programs name the directory that they were built in.
    return str(entry.built_by(build) / "bin/python3"), "-m", "ansible", "adhoc"


def _runs(directory: Path) -> bool:
    return (directory / "bin/python3").exists() and any(directory.glob("lib/*/site-packages/ansible"))


def setup(fleet: Fleet, hosts: int) -> None:
    """Gather facts of the first hosts, all of them at once."""
    inventory = fleet.directory / "inventory"
    inventory.write_text("".join(f"{fleet.host(n).address}\n" for n in range(1, hosts + 1)))
    options = f"-o UserKnownHostsFile={fleet.bed.known_hosts}"
    subprocess.run(
        [
            *(*ansible(), "all", "-m", "setup", "-i", str(inventory)),
            *("-f", str(hosts), "-u", fleet.user, "--become"),
            *("--private-key", str(fleet.bed.identity), f"--ssh-common-args={options}"),
        ],
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(fleet.directory),
            "LC_ALL": "C.UTF-8",
            "ANSIBLE_PYTHON_INTERPRETER": "auto_silent",
        },
        stdout=subprocess.DEVNULL,
        check=True,
    )
