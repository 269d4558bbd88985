"""The named cases: each is a spec and what was observed. `pytest tests/plans --update-golden` writes their files."""

from tests.plans import backed, changing, corrupt, mending, refused, restoring
from tests.plans.registry import CASES

__all__ = ["CASES", "backed", "changing", "corrupt", "mending", "refused", "restoring"]
