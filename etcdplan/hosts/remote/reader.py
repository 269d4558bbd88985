"""The read-only role: one script on a host that root owns, which is all that a user may run there by sudo."""

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from etcdplan.hosts.remote.script import source

READER = "/usr/local/lib/etcdplan/read"

_HEAD = f"""\
#!/bin/sh
# {READER}: what etcdplan's read-only role may run. It changes nothing. Written by: etcdplan access --reader
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C
export PATH LC_ALL
cd / || exit
if [ $# -lt 3 ]; then
    exit 64
fi
printf '%s\\n' "$1"
printf '%s\\n' "$1" >&2
shift
"""
_VERBS = {"look": ("inspect",), "store": ("read", "names")}


@dataclass(frozen=True, slots=True)
class Reader:
    """The script, and which requests it answers in the place of the script that is sent."""

    text: str
    scripts: dict[str, tuple[str, ...]]
    path: str = READER

    @property
    def sha256(self) -> str:
        """Return the digest that the file must have: another one is of another version."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def answers(self, script: str, arguments: tuple[str, ...]) -> bool:
        """Whether it does the same as this script with these arguments: nonce, verb, and the verb's own."""
        return len(arguments) > 1 and arguments[1] in self.scripts.get(script, ())


@cache
def reader() -> Reader:
    """Return the script of this version."""
    own = files("etcdplan.hosts.remote")
    common, guard, look, store = (
        (own / f"{name}.sh").read_text() for name in ("common", "reader", "look", "store")
    )
    text = f"{_HEAD}{common}{guard}case $verb in\ninspect)\n{look}\n;;\n*)\n{store}\n;;\nesac\n"
    return Reader(text, {source(name): verbs for name, verbs in _VERBS.items()})
