"""Keeps pydantic from going through all installed packages for plugins of its own, before it is imported.

None of them has a say in what a spec means, and looking for them takes as long as half of pydantic. Where another
version of pydantic has no such module, this changes nothing.
"""

import sys
from types import ModuleType

_none = ModuleType("pydantic.plugin._loader")
_none.__dict__["get_plugins"] = lambda: ()
if "pydantic" not in sys.modules:
    sys.modules[_none.__name__] = _none
