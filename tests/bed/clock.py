"""A wrong clock for one program of this machine; it does not reach Go programs."""

from tests.bed.command import run

_VARIABLES = ("LD_PRELOAD", "FAKETIME")


def wrong_clock(offset: str) -> dict[str, str]:
    """Return the environment variables under which a program's wall clock is off by `offset`.

    `offset` is faketime's, such as "+10m" or "-2d". The monotonic clock, by which programs wait, stays right:
    a wrong clock does not run faster.
    """
    printed = run("faketime", "-m", "-f", offset, "env", "-0")
    found = dict(entry.split("=", 1) for entry in printed.split("\0") if "=" in entry)
    return {name: found[name] for name in _VARIABLES} | {"FAKETIME_DONT_FAKE_MONOTONIC": "1"}
