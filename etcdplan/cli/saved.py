"""Saved plans, as commands read them."""

from pathlib import Path

from etcdplan.errors import EtcdplanError
from etcdplan.planner.document import PlanDocument, PlanFileError, parse


def read_plan(path: Path, content: bytes | None = None) -> PlanDocument:
    """Read a plan file; `content` is what it holds, when that was read before.

    Raises `StaleError` for one that is whole and not what was written, else `PlanFileError`, or `OSError`.
    """
    content = path.read_bytes() if content is None else content
    if not content.strip():
        raise PlanFileError(f"{path} is empty.", hint="Make the plan again: etcdplan plan SPEC --out FILE.")
    return parse(content, str(path))


def plan_or_spec(path: Path) -> PlanDocument | None:
    """Return the plan in a file; None when it rather is a spec. A plan is JSON, a spec never begins with a brace.

    Raises as `read_plan` does, and `EtcdplanError` for what can be neither.
    """
    if not path.is_file():
        return None
    content = path.read_bytes()
    if content.lstrip()[:1] == b"{":
        return read_plan(path, content)
    if path.suffix not in (".yaml", ".yml") and not _is_text(content):
        raise EtcdplanError(
            f"{path} is {'not text' if content.strip() else 'empty'}: neither a plan nor a spec.",
            hint="Name a plan that 'etcdplan plan SPEC --out FILE' saved, or a spec.",
        )
    return None


def _is_text(content: bytes) -> bool:
    try:
        return bool(content.decode().strip()) and b"\0" not in content
    except UnicodeDecodeError:
        return False
