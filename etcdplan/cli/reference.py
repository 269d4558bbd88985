"""etcdplan schema · etcdplan exit-codes"""

from etcdplan.cli.options import Json
from etcdplan.cli.output import result, result_json


def schema() -> int:
    """Print the JSON Schema of specs, for editors and for checks."""
    from etcdplan.spec.schema import render_schema

    result(render_schema())
    return 0


def exit_codes(json: Json = False) -> int:
    """Print what each exit code means."""
    from etcdplan.errors import EXIT_CODES

    if json:
        result_json(
            {"format_version": "1.0", "exit_codes": {str(code): text for code, text in EXIT_CODES.items()}}
        )
    else:
        result("\n".join(f"{code:>4}  {text}" for code, text in EXIT_CODES.items()))
    return 0
