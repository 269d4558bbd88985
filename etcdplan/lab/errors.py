"""What can go wrong in the lab, whatever cluster runs in it."""

from etcdplan.errors import EtcdplanError


class LabError(EtcdplanError):
    """The lab lacks something: a binary, a toolchain, room, the network."""
