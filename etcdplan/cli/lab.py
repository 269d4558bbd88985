"""etcdplan lab up|down|status|break|demo"""

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from etcdplan.cli.options import Json
from etcdplan.cli.output import progress, result, result_json

if TYPE_CHECKING:
    from etcdplan.lab.directory import LabDirectory

app = typer.Typer(
    help="A throw-away cluster on this machine: real etcd, real TLS, no root.", no_args_is_help=True
)

LabName = Annotated[str, typer.Argument(metavar="NAME", help="The lab; its cluster has the same name.")]
LabOption = Annotated[
    str, typer.Option("--lab", metavar="NAME", help="The lab; its cluster has the same name.")
]
Version = Annotated[
    str, typer.Option("--etcd-version", help="3.4.23, 3.5.35, 3.6.16 or 3.7.3; others by --etcd-dir.")
]
EtcdDir = Annotated[
    Path | None,
    typer.Option("--etcd-dir", metavar="DIR", help="Where etcd of that version lies. Never built then."),
]
Members = Annotated[int, typer.Option("--members", min=1, max=9, help="How many members.")]
Plaintext = Annotated[bool, typer.Option("--plaintext", help="Plain HTTP instead of TLS.")]
ApiServers = Annotated[
    bool,
    typer.Option("--with-apiservers", help="Also three real kube-apiservers; built once, if there is none."),
]
DEFAULT_VERSION = "3.6.16"


class How(Enum):
    """What is done to a member."""

    DISK = "disk"
    KILL = "kill"
    HANG = "hang"
    HOST = "host"


Break = Annotated[
    How,
    typer.Option(
        "--how", help="disk: kill it and remove its data; kill; hang: stop it in its tracks; host: all."
    ),
]


@app.callback()
def lab() -> None:
    """A throw-away cluster on this machine: real etcd, real TLS, no root."""


@app.command("up")
def up(
    name: LabName = "lab",
    members: Members = 3,
    etcd_version: Version = DEFAULT_VERSION,
    etcd_dir: EtcdDir = None,
    with_apiservers: ApiServers = False,
    plaintext: Plaintext = False,
) -> int:
    """Make a lab and bring its cluster up by plan and apply; it stays, with its spec, to play with."""
    from etcdplan.cli.demo import converge

    made = make(
        name, members, etcd_version, etcd_dir, plaintext=plaintext, api_servers=3 if with_apiservers else 0
    )
    converge(made.spec, show_plan=False)
    result(
        "\n".join(
            [
                f"The lab {name} is up. Its spec: {made.spec}",
                "",
                f"    etcdplan status {made.spec}",
                f"    etcdplan lab break member2 --lab {name}",
                f"    etcdplan plan {made.spec} --out plan.json",
                "    etcdplan apply plan.json",
                f"    etcdplan lab down {name}",
            ]
        )
    )
    return 0


def make(
    name: str,
    members: int,
    version: str,
    etcd_dir: Path | None,
    *,
    plaintext: bool = False,
    api_servers: int = 0,
    demo: bool = False,
) -> "LabDirectory":
    """Get the programs and make the directories of a lab; nothing runs in it yet."""
    from etcdplan.lab.apiserver_binary import kube_apiserver
    from etcdplan.lab.binaries import etcd_binaries
    from etcdplan.lab.create import create

    program = kube_apiserver(build=True, report=progress) if api_servers else None
    return create(
        name,
        members=members,
        version=version,
        etcd_dir=etcd_binaries(version, etcd_dir=etcd_dir, report=progress),
        plaintext=plaintext,
        api_servers=api_servers,
        kube_apiserver=program,
        demo=demo,
    )


@app.command("down")
def down(name: LabName = "lab") -> int:
    """End all processes of a lab, also of a half-made one; remove its directory and this machine's journals of it."""
    from etcdplan.lab.directory import LabDirectory
    from etcdplan.lab.errors import LabError

    place = LabDirectory.named(name)
    if not remove(place):
        raise LabError(f"There is no lab {name!r} in {place.path.parent}.", hint=_there_are())
    result(f"The lab {name} is gone.")
    return 0


def remove(lab: "LabDirectory") -> bool:
    """Remove a lab, and the journals of its runs on this machine; return whether there was anything of it."""
    from etcdplan.apply.journal import RunnerFiles
    from etcdplan.lab.errors import LabError
    from etcdplan.lab.processes import destroy

    try:
        network = lab.file().network
    except LabError:
        return destroy(lab)
    removed = destroy(lab)
    # A real cluster may have the same name; only a lab has all its hosts in this network.
    RunnerFiles.home().forget(lab.name, lambda host: host.startswith(f"{network}."))
    return removed


def _there_are() -> str:
    from etcdplan.lab.directory import LabDirectory

    names = ", ".join(lab.name for lab in LabDirectory.all())
    return f"There are: {names}." if names else "There is none at all."


@app.command("status")
def status(json: Json = False) -> int:
    """List the labs of this user, and what runs in them."""
    from dataclasses import asdict

    from etcdplan.lab.directory import LabDirectory
    from etcdplan.lab.processes import status as processes_of

    labs = LabDirectory.all()
    if json:
        found = {one.name: [asdict(process) for process in processes_of(one)] for one in labs}
        result_json({"format_version": "1.0", "labs": found})
        return 0
    for one in labs:
        result(f"{one.name}: {one.spec}")
        for process in processes_of(one):
            pid = f" (process {process.pid})" if process.pid else ""
            result(f"    {process.host:14} {process.unit:14} {process.name:10} {process.state}{pid}")
    if not labs:
        result("There is no lab. 'etcdplan lab up' makes one.")
    return 0


@app.command("break")
def break_(
    member: Annotated[str, typer.Argument(metavar="MEMBER", help="The member, as in the lab's spec.")],
    lab: LabOption = "lab",
    how: Break = How.DISK,
) -> int:
    """Break a member of a lab, to see it healed."""
    from etcdplan.lab.directory import LabDirectory
    from etcdplan.lab.processes import break_member

    result(break_member(LabDirectory.find(lab), member, how.value))
    return 0


@app.command("demo")
def demo(
    etcd_version: Version = DEFAULT_VERSION,
    etcd_dir: EtcdDir = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the lab 'demo' up at the end.")] = False,
) -> int:
    """See the main job: a real TLS cluster comes up, loses a member with its disk under load, and is healed."""
    from etcdplan.cli.demo import run_demo

    return run_demo(etcd_version, etcd_dir, keep=keep)
