"""The page of checks and the code name the same codes with the same titles."""

import re
from pathlib import Path

from etcdplan.planner.backup_checks import BACKUP_CODES
from etcdplan.planner.checks import CHECK_CODES
from etcdplan.spec.lint import LINT_CODES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "checks.md").read_text()


def test_every_code_is_on_the_page() -> None:
    rows = re.findall(r"^\| (EP\d{3}) \| ([^|]+) \| ([^|]+) \|$", PAGE, re.MULTILINE)
    assert {code: title for code, title, _ in rows} == {**LINT_CODES, **CHECK_CODES, **BACKUP_CODES}
    assert [code for code, _, _ in rows] == sorted(code for code, _, _ in rows)


def test_no_other_code_is_used() -> None:
    used = {
        code
        for path in (ROOT / "etcdplan").rglob("*.py")
        for code in re.findall(r"EP\d{3}", path.read_text())
    }
    assert used <= {*LINT_CODES, *CHECK_CODES, *BACKUP_CODES}
    assert len({*LINT_CODES, *CHECK_CODES, *BACKUP_CODES}) == len(LINT_CODES) + len(CHECK_CODES) + len(
        BACKUP_CODES
    )
