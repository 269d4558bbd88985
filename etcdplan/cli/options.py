"""Arguments and options that several commands have."""

from pathlib import Path
from typing import Annotated

import typer

SpecPath = Annotated[
    Path,
    typer.Argument(
        metavar="SPEC", help="The cluster's spec, a YAML file.", show_default=False, readable=False
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, with its format version.")]
NoColor = Annotated[bool, typer.Option("--no-color", help="Print no colour; NO_COLOR=1 does the same.")]
AgeIdentity = Annotated[
    list[Path] | None,
    typer.Option(
        "--age-identity",
        envvar="ETCDPLAN_AGE_IDENTITY",
        help="A file with the age identity that opens encrypted keys. May be repeated.",
        show_default=False,
    ),
]

EtcdDir = Annotated[
    Path | None,
    typer.Option("--etcd-dir", metavar="DIR", help="Where etcd and etcdutl are (etcd 3.4: etcdctl)."),
]
Scratch = Annotated[
    Path | None,
    typer.Option(
        "--scratch",
        metavar="DIR",
        help="Where a snapshot lies decrypted while it is tried, and is then removed.",
    ),
]
