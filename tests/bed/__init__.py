"""The test bed: hosts with real systemd, sshd and etcd, in network namespaces of their own."""

from tests.bed.bed import DEPLOY, VISITOR, Bed
from tests.bed.clock import wrong_clock
from tests.bed.command import BedError
from tests.bed.host import Host

__all__ = ["DEPLOY", "VISITOR", "Bed", "BedError", "Host", "wrong_clock"]
