"""The same spec and the same state give the same bytes, in any process."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

from tests.plans.cases import CASES as ALL
from tests.plans.golden import HERE, document, outputs

SOME = [
    "bootstrap-5",
    "replace-two-of-five-new-hosts",
    "move-all-members",
    "certificate-expiring",
    "refused-quorum-lost",
]
PRINT = """
import hashlib, sys
from pathlib import Path
from tests.plans.cases import CASES as ALL
from tests.plans.golden import document, outputs
for name in sys.argv[1:]:
    for file, content in outputs(document(Path(name))).items():
        print(name, file, hashlib.sha256(content).hexdigest())
"""


def _elsewhere(**environment: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", PRINT, *(f"{HERE / name}" for name in SOME)],
        env={**os.environ, **environment},
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return done.stdout.splitlines()


def test_hash_seed_time_zone_and_locale_do_not_matter() -> None:
    expected = [
        f"{HERE / name} {file} {hashlib.sha256(content).hexdigest()}"
        for name in SOME
        for file, content in outputs(document(HERE / name)).items()
    ]
    assert _elsewhere(PYTHONHASHSEED="1", TZ="Pacific/Kiritimati", LC_ALL="C", COLUMNS="40") == expected
    assert _elsewhere(PYTHONHASHSEED="2", TZ="UTC", NO_COLOR="1", LC_ALL="C.UTF-8") == expected


def test_the_order_of_keys_in_the_files_does_not_matter(tmp_path: Path) -> None:
    for name in ALL:
        live = json.loads((HERE / name / "live.json").read_bytes())
        spec = (HERE / name / "spec.yaml").read_text()
        top, rest = spec.split("\nspec:", 1)
        (tmp_path / "spec.yaml").write_text(f"spec:{rest}{top}\n")
        (tmp_path / "live.json").write_text(json.dumps(_reversed(live)))
        assert outputs(document(tmp_path)) == outputs(document(HERE / name)), name


def _reversed(value: object) -> object:
    """Return JSON with the keys of every object in reverse order."""
    if isinstance(value, dict):
        return {key: _reversed(item) for key, item in reversed(value.items())}
    return [_reversed(item) for item in value] if isinstance(value, list) else value
