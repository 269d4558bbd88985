"""The one error of this library."""

from etcdplan.errors import EtcdplanError


class PkiError(EtcdplanError):
    """A key, a certificate or a request for one is not usable. Never contains secret material."""
