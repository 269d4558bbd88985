"""What goes wrong with backups."""

from etcdplan.errors import EtcdplanError


class BackupError(EtcdplanError):
    """A backup could not be made, or one that is there is no good."""


class DestinationError(BackupError):
    """A destination did not do its part."""
