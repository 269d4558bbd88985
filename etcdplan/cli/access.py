"""etcdplan access SPEC"""

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from etcdplan.cli.output import result
from etcdplan.errors import UsageError


class Role(StrEnum):
    """What an SSH user is for."""

    PLAN = "plan"
    APPLY = "apply"


Spec = Annotated[
    Path | None,
    typer.Argument(metavar="SPEC", help="Names the SSH user.", show_default=False, readable=False),
]
Sudoers = Annotated[bool, typer.Option("--sudoers", help="Print what sudo must allow on the hosts.")]
Reader = Annotated[bool, typer.Option("--reader", help="Print the script that the role plan may run.")]
RoleOption = Annotated[Role | None, typer.Option("--role", help="Only this role; both without it.")]
User = Annotated[str | None, typer.Option("--user", metavar="NAME", help="The SSH user, if not the spec's.")]


def access(
    spec: Spec = None,
    sudoers: Sudoers = False,
    reader: Reader = False,
    role: RoleOption = None,
    user: User = None,
) -> None:
    """Print what the SSH user must be allowed to do on the hosts; nothing is connected to."""
    if sudoers == reader:
        raise UsageError(
            "Say what to print.", hint="etcdplan access --sudoers SPEC, or etcdplan access --reader."
        )
    from etcdplan.hosts.remote.reader import reader as the_reader

    if reader:
        result(the_reader().text.rstrip("\n"))
        return
    name = user or _user(spec)
    if not re.fullmatch(r"[a-z_][a-z0-9_.-]{0,31}", name):
        raise UsageError(f"{name!r} is not a user's name.", hint="Write it as in /etc/passwd, such as ops.")
    roles = [role] if role else list(Role)
    result("\n\n".join(_sudoers(one, name, the_reader().path) for one in roles))


def _user(spec: Path | None) -> str:
    from etcdplan.spec.load import load_spec

    if spec is None:
        raise UsageError("Whose rights?", hint="Name the spec, or the user: --user NAME.")
    name = load_spec(spec).spec.spec.access.ssh.user
    if name is None:
        raise UsageError(f"{spec} names no user (access.ssh.user).", hint="Name the SSH user: --user NAME.")
    return name


def _sudoers(role: Role, user: str, path: str) -> str:
    if role is Role.PLAN:
        return (
            f"# etcdplan plan, status and observe. {path} is root's, mode 0755, and comes from\n"
            "# 'etcdplan access --reader'; it is replaced with every new version of etcdplan.\n"
            f"{user} ALL=(root) NOPASSWD: {path}"
        )
    return (
        "# etcdplan apply. Whoever writes etcd's configuration and its unit is root: this does not pretend otherwise.\n"
        f"{user} ALL=(root) NOPASSWD: ALL"
    )
