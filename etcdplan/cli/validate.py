"""etcdplan validate SPEC…"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from etcdplan.cli.options import Json, NoColor
from etcdplan.cli.output import colored, progress, result, result_json, show_error, width

Specs = Annotated[
    list[Path],
    typer.Argument(metavar="SPEC...", help="Specs to check.", show_default=False, readable=False),
]


def validate(specs: Specs, json: Json = False, no_color: NoColor = False) -> int:
    """Check specs without looking at any host: mistakes are errors, unwise choices are warnings."""
    from etcdplan.errors import EtcdplanError
    from etcdplan.hosts.etcd_archive import check_archive
    from etcdplan.render.diagnostics import finding_text
    from etcdplan.spec.lint import lint
    from etcdplan.spec.load import load_materials, load_spec
    from etcdplan.spec.pairs import check_pairs
    from etcdplan.spec.problems import SpecInvalid

    failed = 0
    diagnostics: list[dict[str, object]] = []
    for path in specs:
        try:
            loaded = load_spec(path)
            load_materials(loaded)
        except EtcdplanError as error:
            failed += 1
            problems = error.problems if isinstance(error, SpecInvalid) else ()
            diagnostics += [
                {
                    "severity": "error",
                    "code": None,
                    "path": str(problem.path),
                    "line": problem.line,
                    "column": problem.column,
                    "address": problem.address,
                    "message": problem.what,
                    "remedy": problem.remedy,
                }
                for problem in problems
            ] or [
                {
                    "severity": "error",
                    "code": None,
                    "path": str(path),
                    "message": error.message,
                    "remedy": error.hint,
                }
            ]
            if not json:
                show_error(error)
            continue
        for finding in (*lint(loaded), *check_pairs(loaded), *check_archive(loaded)):
            diagnostics.append(
                {
                    "severity": finding.severity,
                    "code": finding.code,
                    "path": str(path),
                    "line": finding.position.line,
                    "column": finding.position.column,
                    "address": finding.address,
                    "message": finding.what,
                    "remedy": finding.remedy,
                }
            )
            if not json:
                color = colored(sys.stderr, no_color=no_color)
                progress(finding_text(finding, path, color=color, width=width()))
        if not json:
            result(f"{path}: the spec is valid.")
    if json:
        counts = [sum(entry["severity"] == kind for entry in diagnostics) for kind in ("error", "warning")]
        result_json(
            {
                "format_version": "1.0",
                "valid": not failed,
                "error_count": counts[0],
                "warning_count": counts[1],
                "diagnostics": diagnostics,
            }
        )
    return 1 if failed else 0
