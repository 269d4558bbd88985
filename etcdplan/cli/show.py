"""etcdplan show PLAN"""

import sys
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from etcdplan.cli.options import NoColor
from etcdplan.cli.output import colored, result, width

PlanPath = Annotated[
    Path,
    typer.Argument(
        metavar="PLAN", help="A plan that 'plan --out' saved.", show_default=False, readable=False
    ),
]


class Format(Enum):
    """How a plan is shown."""

    TEXT = "text"
    JSON = "json"
    MARKDOWN = "markdown"


FormatOption = Annotated[Format, typer.Option("--format", help="text, json, or markdown for a pull request.")]
Verbose = Annotated[bool, typer.Option("--verbose", help="Show every change and every step.")]


def show(
    plan: PlanPath, format: FormatOption = Format.TEXT, verbose: Verbose = False, no_color: NoColor = False
) -> int:
    """Show a saved plan."""
    from etcdplan.cli.saved import read_plan

    document = read_plan(plan)
    match format:
        case Format.JSON:
            from etcdplan.render.json import plan_json

            result(plan_json(document))
        case Format.MARKDOWN:
            from etcdplan.render.markdown import plan_markdown

            result(plan_markdown(document))
        case Format.TEXT:
            from etcdplan.render.text import plan_text

            color = colored(sys.stdout, no_color=no_color)
            result(plan_text(document, color=color, width=width(), plan_path=str(plan), verbose=verbose))
    return 0
