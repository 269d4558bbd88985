"""Generated contracts in `schemas/` match what the models say."""

from pathlib import Path

from etcdplan.spec.schema import render_schema

SCHEMAS = Path(__file__).parents[2] / "schemas"


def test_spec_schema_is_current() -> None:
    """Regenerate with `python -m etcdplan.spec.schema > schemas/spec.schema.json`."""
    assert (SCHEMAS / "spec.schema.json").read_text() == render_schema()
