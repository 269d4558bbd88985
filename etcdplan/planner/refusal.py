"""A plan that must not be carried out says why, and what to do."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why nothing is done. `code` is stable, `exit_code` 5 (a guard) or 8 (something could not be observed)."""

    code: str
    subject: str
    message: str
    remedy: str
    exit_code: int = 5
