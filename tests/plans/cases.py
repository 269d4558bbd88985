"""The named cases: each is a spec and what was observed. `pytest tests/plans --update-golden` writes their files."""

from tests.plans import changing, mending, refused, restoring
from tests.plans.registry import CASES

__all__ = ["CASES", "changing", "mending", "refused", "restoring"]
