"""`python -m tests.bed`: build what the hosts boot from, so that no test's time goes into it; remove leftovers."""

import sys

from tests.bed.claims import remove_leftovers
from tests.bed.command import require
from tests.bed.root_file_system import root_file_system

require()
remove_leftovers()
root_file_system(report=lambda line: print(line, file=sys.stderr, flush=True))
