"""What all parts of a spec's model have in common."""

from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

FILE: Final = r"^[^\x00-\x1f\x7f]+$"

FilePath = Annotated[str, Field(pattern=FILE)]


class Model(BaseModel):
    """Common settings: frozen, camelCase, no unknown keys. Built when first used, which is once, as a part of `Spec`.

    What is written below a field describes it in the schema (`etcdplan.spec.schema`).
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        populate_by_name=True,
        defer_build=True,
    )
