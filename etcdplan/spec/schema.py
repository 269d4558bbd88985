"""The JSON Schema of a spec, for editors and other programs.

    python -m etcdplan.spec.schema > schemas/spec.schema.json

It cannot say everything that loading checks: conflicts between parts, hosts, flags.
"""

import ast
import json
import sys
from inspect import cleandoc, getsource
from itertools import pairwise
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from etcdplan.spec.base import Model
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
    for model in Model.__subclasses__():
        described = schema if model is Spec else schema["$defs"][model.__name__]
        for field, text in _described(model).items():
            described["properties"][model.model_fields[field].alias].setdefault("description", text)
    return {"$schema": GenerateJsonSchema.schema_dialect, **schema, "title": "etcdplan cluster spec"}


def _described(model: type[Model]) -> dict[str, str]:
    """Return what is written below each field. pydantic would read it for every command; this one needs it."""
    return {
        field.target.id: cleandoc(text.value.value)
        for definition in ast.parse(getsource(model)).body
        if isinstance(definition, ast.ClassDef)
        for field, text in pairwise(definition.body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }


def render_schema() -> str:
    """The text of `schemas/spec.schema.json`."""
    return json.dumps(spec_schema(), indent=2, sort_keys=True) + "\n"


if __name__ == "__main__":
    sys.stdout.write(render_schema())
