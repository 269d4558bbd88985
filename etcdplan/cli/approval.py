"""Asking a person for approval."""

import sys

from etcdplan.cli.output import progress
from etcdplan.errors import UsageError


def ask(question: str, *, instead: str) -> None:
    """Return when a person at a terminal says 'yes'; else raise `UsageError`.

    `instead` is what to do where there is no terminal.
    """
    if not sys.stdin.isatty():
        raise UsageError("There is no terminal to ask for approval.", hint=instead)
    progress("Only 'yes' will be accepted to approve.")
    try:
        answer = input(f"{question} ")
    except (EOFError, KeyboardInterrupt):
        progress("")
        answer = ""
    if answer != "yes":
        raise UsageError("Not approved. Nothing was changed.")
