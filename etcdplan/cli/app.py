"""The command line: one file a command; here they come together, and errors become exit codes."""

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

import etcdplan.cli.plain_pydantic  # noqa: F401 - no command imports pydantic before it
from etcdplan import __version__
from etcdplan.cli import (
    access,
    apply,
    backup,
    drift,
    lab,
    observe,
    pki,
    plan,
    recover,
    reference,
    restore,
    show,
    status,
    validate,
)
from etcdplan.cli.output import show_error
from etcdplan.errors import EtcdplanError, UsageError

app = typer.Typer(
    name="etcdplan",
    help="Plan and apply for the etcd clusters behind Kubernetes.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("validate")(validate.validate)
app.command("plan")(plan.plan)
app.command("observe")(observe.observe)
app.command("apply")(apply.apply)
app.command("restore")(restore.restore)
app.command("recover")(recover.recover)
app.command("access")(access.access)
app.command("show")(show.show)
app.command("status")(status.status)
app.command("drift")(drift.drift)
app.add_typer(backup.app, name="backup")
app.add_typer(pki.app, name="pki")
app.add_typer(lab.app, name="lab")
app.command("schema")(reference.schema)
app.command("exit-codes")(reference.exit_codes)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"etcdplan {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Plan and apply for the etcd clusters behind Kubernetes."""


_CommandLineError: type[Exception] = typer.BadParameter.__bases__[0]
"""What typer raises for a command line that makes no sense; typer exports only its subclasses."""


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; never raises."""
    try:
        result = app(list(arguments), prog_name="etcdplan", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except typer.Exit as done:
        return int(done.exit_code)
    except EtcdplanError as error:
        show_error(error)
        return error.exit_code
    except (typer.Abort, KeyboardInterrupt):
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    except _CommandLineError as error:
        say = getattr(error, "format_message", None)
        message = say() if say else str(error)
        if message:
            show_error(UsageError(message, hint="See: etcdplan --help, or etcdplan COMMAND --help."))
        return UsageError.exit_code
    except OSError as error:
        place = f" ({error.filename})" if error.filename else ""
        show_error(EtcdplanError(f"{error.strerror or error}{place}."))
        return EtcdplanError.exit_code
    except Exception as error:
        if os.environ.get("ETCDPLAN_DEBUG"):
            raise
        show_error(_unexpected(error))
        return EtcdplanError.exit_code


def _unexpected(error: Exception) -> EtcdplanError:
    """Say where a mistake of etcdplan's own lies, without the values at hand."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else "an unknown place"
    return EtcdplanError(
        f"This is a mistake in etcdplan itself: {type(error).__name__} at {place}.",
        hint="Please report it. ETCDPLAN_DEBUG=1 shows all of it. An apply that was under way can be resumed.",
    )
