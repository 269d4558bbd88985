"""paramiko, imported without what it would run commands with, and silent.

It needs `invoke` for nothing but the `exec` of ssh_config's Match, which is never run here, and importing that takes as
long as all the rest. What paramiko logs reaches the user as our errors; without a handler Python would print it.
"""

import logging
import sys
from typing import Any

_modules: dict[str, Any] = sys.modules
_free = "invoke" not in _modules
if _free:
    _modules["invoke"] = None
try:
    import paramiko
finally:
    if _free:
        del _modules["invoke"]
logging.getLogger("paramiko").addHandler(logging.NullHandler())

__all__ = ["paramiko"]
