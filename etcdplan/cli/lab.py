"""etcdplan lab"""

import typer

app = typer.Typer(help="A throw-away cluster on this machine.", no_args_is_help=True)


@app.callback()
def lab() -> None:
    """A throw-away cluster on this machine."""
