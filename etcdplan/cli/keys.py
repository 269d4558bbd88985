"""Private keys of the runner: read when they are needed, and never shown."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from etcdplan.errors import SpecError
from etcdplan.model.effects import IssueLeaf
from etcdplan.spec.load import LoadedSpec
from etcdplan.spec.problems import PKI_INIT

if TYPE_CHECKING:
    from etcdplan.pki.authority import Authority
    from etcdplan.transport.etcd import Credentials

SECONDS_A_DAY = 86_400


def beside(loaded: LoadedSpec, path: str) -> Path:
    """Return a path that a spec names; relative ones begin at the spec's directory."""
    return loaded.path.parent / path


class CaSigner:
    """Signs with the CA of a spec. Its key is read once, at `load` or at the first signature."""

    def __init__(self, loaded: LoadedSpec, bundle_pem: bytes, identities: Sequence[Path]) -> None:
        self._loaded = loaded
        self._identities = identities
        self._authority: Authority | None = None
        self._bundle_pem = bundle_pem

    @property
    def bundle_pem(self) -> bytes:
        """The CA certificate."""
        return self._bundle_pem

    def load(self) -> "Authority":
        """Read the CA's key, so that a missing one is noticed before anything is done; raise `PkiError`."""
        if self._authority is None:
            from etcdplan.pki.authority import Authority
            from etcdplan.pki.keyfile import read_key

            pair = self._loaded.spec.spec.tls.ca
            if pair is None:
                raise SpecError("The spec names no CA.", hint=f"Set spec.tls.ca; {PKI_INIT} makes one.")
            key = read_key(beside(self._loaded, pair.key), identities=self._identities)
            self._authority = Authority(self._bundle_pem, key)
        return self._authority

    def sign(self, request_pem: bytes, leaf: IssueLeaf) -> bytes:
        """Return a certificate with the names and usages of `leaf`."""
        from etcdplan.pki.authority import LeafRequest, subject_alt_names

        dns, addresses = subject_alt_names(leaf.sans)
        request = LeafRequest(
            leaf.common_name, dns, addresses, "server" in leaf.usages, "client" in leaf.usages
        )
        days = max(leaf.lifetime // SECONDS_A_DAY, 1)
        return self.load().sign(request_pem, request, now=datetime.now(UTC), days=days)


def operator_credentials(
    loaded: LoadedSpec, ca_pem: bytes, identities: Sequence[Path]
) -> "Credentials | None":
    """Return the client certificate and key with which etcdplan calls etcd; None without TLS."""
    pair = loaded.spec.spec.tls.operator
    if not ca_pem or pair is None:
        return None
    from etcdplan.pki.keyfile import read_key
    from etcdplan.pki.leaf import key_matches
    from etcdplan.spec.document import read_regular_file
    from etcdplan.transport.etcd import Credentials

    path = beside(loaded, pair.certificate)
    try:
        certificate = read_regular_file(path)
    except OSError as error:
        raise SpecError(
            f"The operator's certificate {path} cannot be read: {error.strerror}.",
            hint=f"{PKI_INIT} makes it; spec.tls.operator.certificate names it.",
        ) from None
    key = read_key(beside(loaded, pair.key), identities=identities)
    if not key_matches(key, certificate):
        raise SpecError(
            f"{beside(loaded, pair.key)} is not the key of {path}.",
            hint="Name the certificate and the key that were made together in spec.tls.operator.",
        )
    return Credentials(ca_pem, certificate, key)
