"""Certificates for tests, made by the product's own library."""

from datetime import UTC, datetime

from etcdplan.pki.authority import Authority, LeafRequest, create_authority, subject_alt_names
from etcdplan.pki.leaf import new_key_and_csr
from etcdplan.pki.secret import Secret
from etcdplan.transport.etcd import Credentials


def authority(name: str = "test CA") -> Authority:
    """A CA of its own."""
    return create_authority(name, now=datetime.now(UTC))


def leaf(ca: Authority, *hosts: str) -> tuple[Secret, bytes]:
    """A key and a certificate for clients and, when there are hosts, for servers of these names or addresses."""
    key, csr = new_key_and_csr()
    request = LeafRequest("test", *subject_alt_names(hosts), server=bool(hosts), client=True)
    return key, ca.sign(csr, request, now=datetime.now(UTC), days=1)


def credentials(ca: Authority, *, trust: Authority | None = None) -> Credentials:
    """A client's credentials: a certificate of `ca`, and trust in `trust` or else in `ca`."""
    key, certificate = leaf(ca)
    return Credentials((trust or ca).certificate_pem, certificate, key)
