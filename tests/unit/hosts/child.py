"""Code in a process of its own, as the same user, wherever the interpreter's files are."""

import os
import traceback
import warnings
from collections.abc import Callable


def in_child(action: Callable[[], None]) -> int:
    """Run `action` in a forked process; return its exit status, or the negative number of the signal that ended it."""
    with warnings.catch_warnings():
        # Python warns of forks beside threads; the child runs nothing that takes a lock of theirs.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        status = 1
        try:
            action()
            status = 0
        except BaseException:  # noqa: BLE001
            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
