"""Where output goes: results to standard output, everything else to standard error; colour only on a terminal."""

import io
import os
import shutil
import sys
from collections.abc import Callable
from typing import Any, TextIO

from etcdplan.errors import EtcdplanError


def colored(stream: TextIO, *, no_color: bool = False) -> bool:
    """Whether a stream gets colour: a terminal, and neither `--no-color` nor `NO_COLOR` says otherwise."""
    return stream.isatty() and not no_color and not os.environ.get("NO_COLOR")


def width() -> int:
    """Return the columns to fill, at most 110."""
    return min(shutil.get_terminal_size((100, 24)).columns, 110)


def result(text: str) -> None:
    """Print a result."""
    sys.stdout.write(text if text.endswith("\n") else f"{text}\n")
    sys.stdout.flush()


def result_json(value: Any) -> None:  # any JSON value
    """Print a result as JSON."""
    import json

    result(json.dumps(value, indent=2, ensure_ascii=False, sort_keys=False))


def progress(text: str) -> None:
    """Print what happens, for people; when nobody is there any more to read it, go on in silence."""
    try:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()
    except OSError:
        sys.stderr = io.StringIO()


def show_error(error: EtcdplanError) -> None:
    """Print an error."""
    from etcdplan.render.diagnostics import error_text

    progress(error_text(error, color=colored(sys.stderr), width=width()))


def progress_bar() -> Callable[[int, int], None]:
    """Return what shows rate and time left on a terminal, and nothing elsewhere."""
    if not sys.stderr.isatty():
        return lambda _done, _all: None
    from etcdplan.render.backup import Progress

    bar = Progress()

    def show(done: int, expected: int) -> None:
        import time

        if line := bar.line(done, expected, time.monotonic()):
            sys.stderr.write(f"\r{line}\x1b[K" + ("\n" if done >= expected else ""))
            sys.stderr.flush()

    return show
