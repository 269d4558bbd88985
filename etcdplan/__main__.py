"""The command `etcdplan`."""

import sys

from etcdplan import __version__


def main() -> int:
    """Run the command line and return its exit code."""
    if sys.argv[1:] == ["--version"]:
        sys.stdout.write(f"etcdplan {__version__}\n")
        return 0
    from etcdplan.cli.app import run  # heavy: only when there is something to do

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
