"""Where the backups of a spec are, and who may have signed them: where the real ones are wired in."""

from functools import partial
from typing import TYPE_CHECKING

from etcdplan.backup.seen import Watch, see
from etcdplan.backup.signing import PublicKey
from etcdplan.cli.keys import beside
from etcdplan.errors import SpecError
from etcdplan.spec.document import read_regular_file

if TYPE_CHECKING:
    from etcdplan.backup.destination import Destination
    from etcdplan.model.backups import Store
    from etcdplan.spec.backup import Backup
    from etcdplan.spec.load import LoadedSpec


def destination(loaded: "LoadedSpec", place: str) -> "Destination":
    """Return a destination as the spec names it; raise `DestinationError` when its driver is not installed."""
    from etcdplan.backup.places import open_place

    return open_place(place, loaded.path.parent)


def trusted_keys(loaded: "LoadedSpec", policy: "Backup") -> list[PublicKey]:
    """Return the keys whose signature makes a backup count; raise `SpecError` or `BackupError`."""
    keys = []
    for name in policy.encryption.trusted_keys:
        path = beside(loaded, name)
        try:
            keys.append(PublicKey(read_regular_file(path), str(path)))
        except OSError as error:
            raise SpecError(
                f"The trusted key {path} cannot be read: {error.strerror}.",
                hint="spec.backup.encryption.trustedKeys names it; etcdplan backup keygen makes one.",
            ) from None
    return keys


def watch(loaded: "LoadedSpec", policy: "Backup") -> Watch:
    """Return what looks at each destination of a policy."""

    def look(place: str) -> "Store":
        return see(destination(loaded, place), loaded.spec.metadata.name, trusted_keys(loaded, policy))

    return Watch({place: partial(look, place) for place in policy.destinations})
