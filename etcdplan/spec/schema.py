"""The JSON Schema of a spec, for editors and other programs.

    python -m etcdplan.spec.schema > schemas/spec.schema.json

It cannot say everything that loading checks: conflicts between parts, hosts, flags.
"""

import json
import sys
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from etcdplan.spec.models import Spec


class _Generator(GenerateJsonSchema):
    def field_title_should_be_set(self, schema: Any) -> bool:
        """Titles of fields would only repeat their names."""
        return False

    def default_schema(self, schema: Any) -> dict[str, Any]:
        """Defaults of durations and sizes appear as a user writes them, not as integers."""
        described = super().default_schema(schema)
        if write := schema["schema"].get("serialization", {}).get("function"):
            described["default"] = write(schema["default"])
        return described


def spec_schema() -> dict[str, Any]:
    """JSON Schema, draft 2020-12, keys sorted."""
    schema = Spec.model_json_schema(by_alias=True, mode="validation", schema_generator=_Generator)
    return {"$schema": GenerateJsonSchema.schema_dialect, **schema, "title": "etcdplan cluster spec"}


def render_schema() -> str:
    """The text of `schemas/spec.schema.json`."""
    return json.dumps(spec_schema(), indent=2, sort_keys=True) + "\n"


if __name__ == "__main__":
    sys.stdout.write(render_schema())
