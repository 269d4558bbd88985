"""etcdplan pki init"""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from etcdplan.cli.output import result
from etcdplan.errors import EtcdplanError, UsageError

if TYPE_CHECKING:
    from etcdplan.pki.authority import Authority

app = typer.Typer(help="Make the certificates that a cluster begins with.", no_args_is_help=True)

OPERATOR_DAYS = 365

Directory = Annotated[Path, typer.Option("--dir", metavar="DIR", help="Where the files go.")]
Recipients = Annotated[
    list[str] | None, typer.Option("--recipient", metavar="AGE1…", help="An age recipient. May be repeated.")
]
NewIdentity = Annotated[
    Path | None,
    typer.Option("--new-identity", metavar="FILE", help="Make an age identity there, and encrypt to it."),
]
Plain = Annotated[bool, typer.Option("--plain", help="Leave private keys unencrypted (mode 0600).")]
Name = Annotated[str, typer.Option("--name", help="The common name of the CA.")]


@app.callback()
def pki() -> None:
    """Make the certificates that a cluster begins with."""


@app.command("init")
def init(
    directory: Directory = Path("pki"),
    recipient: Recipients = None,
    new_identity: NewIdentity = None,
    plain: Plain = False,
    name: Name = "etcd-ca",
) -> int:
    """Make a CA for etcd and the operator's client certificate; their keys are encrypted with age, or plain."""
    recipients = list(recipient or [])
    if plain == bool(recipients or new_identity):
        raise UsageError(
            "Say how the private keys are kept: encrypted with age, or plain.",
            hint="Use --recipient AGE1… or --new-identity FILE; or --plain for unencrypted keys of mode 0600.",
        )
    written = initialise(directory, recipients=recipients, new_identity=new_identity, name=name)
    suffix = "" if plain else ".age"
    result(
        "\n".join(
            [
                *(f"wrote {path}" for path in written),
                "",
                "In the spec:",
                "  tls:",
                f"    ca: {{certificate: {directory}/etcd-ca.crt, key: {directory}/etcd-ca.key{suffix}}}",
                f"    operator: {{certificate: {directory}/operator.crt, key: {directory}/operator.key{suffix}}}",
            ]
        )
    )
    return 0


def initialise(
    directory: Path, *, recipients: list[str], new_identity: Path | None = None, name: str = "etcd-ca"
) -> list[Path]:
    """Make CA and operator pair in a directory and return what was written; nothing that exists is overwritten."""
    from etcdplan.cli.files import write_file
    from etcdplan.pki.authority import LeafRequest, create_authority
    from etcdplan.pki.keyfile import new_identity as make_identity
    from etcdplan.pki.keyfile import write_identity, write_key
    from etcdplan.pki.leaf import new_key_and_csr

    suffix = ".age" if recipients or new_identity else ""
    names = ("etcd-ca.crt", f"etcd-ca.key{suffix}", "operator.crt", f"operator.key{suffix}")
    paths = [directory / one for one in names]
    for path in (*paths, *([new_identity] if new_identity else [])):
        if path.exists():
            raise EtcdplanError(f"{path} exists already and is not overwritten.", hint="Use another --dir.")
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    written = []
    if new_identity is not None:
        identity, own = make_identity()
        write_identity(new_identity, identity)
        recipients = [*recipients, own]
        written.append(new_identity)
    now = datetime.now(UTC)
    authority: Authority = create_authority(name, now=now)
    key, request = new_key_and_csr()
    operator = LeafRequest("etcdplan-operator", (), (), server=False, client=True)
    certificate = authority.sign(request, operator, now=now, days=OPERATOR_DAYS)
    write_key(paths[1], authority.key, recipients=recipients)
    write_file(paths[0], authority.certificate_pem)
    write_key(paths[3], key, recipients=recipients)
    write_file(paths[2], certificate)
    return written + paths
