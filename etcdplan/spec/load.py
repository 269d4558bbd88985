"""From a file to a valid spec, or to everything that is wrong with it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from etcdplan.spec.document import MAX_BYTES, read_document, read_regular_file
from etcdplan.spec.explain import explain, nearest
from etcdplan.spec.models import Spec
from etcdplan.spec.problems import PKI_INIT, Address, Position, Problem, SpecInvalid, render_address
from etcdplan.spec.units import DOCUMENT


@dataclass(frozen=True, slots=True)
class LoadedSpec:
    """A valid spec and where each part of it stands.

    `positions` knows what the file spells out (keys of mappings, starts of list items, `()` for the
    document); use `position` for what may be a default.
    """

    spec: Spec
    path: Path
    positions: Mapping[Address, Position]

    def position(self, address: Address) -> Position:
        """Where `address` stands, or else the innermost of what is around it."""
        return nearest(self.positions, address)


@dataclass(frozen=True, slots=True)
class Materials:
    """Contents of files that a spec names and that are no secrets."""

    ca_pem: bytes | None
    """The bundle of the cluster's certificate authority; None without TLS."""
    trusted_keys: tuple[str, ...] = ()
    """The keys (PEM) whose signatures make a backup count, where backup hosts must know them."""


def load_spec(path: Path) -> LoadedSpec:
    """Raises SpecInvalid with all problems found; reads no other file."""
    document = read_document(path)
    problems = list(document.problems)
    try:
        spec = Spec.model_validate(document.value, context=DOCUMENT, by_alias=True, by_name=False)
    except ValidationError as error:
        problems += explain(error, document, path)
        raise SpecInvalid(problems) from None
    if problems:
        raise SpecInvalid(problems)
    return LoadedSpec(spec, path, MappingProxyType(document.positions))


def load_materials(loaded: LoadedSpec) -> Materials:
    """Read what the spec names, relative to its directory. Reads no private key.

    Raises SpecInvalid, with the position of the path in the spec, when a file does not hold what it should.
    """
    ca = loaded.spec.spec.tls.ca
    if loaded.spec.spec.tls.mode == "none" or ca is None:
        return Materials(None, _trusted_keys(loaded))
    ca_pem = _read_certificates(loaded, ca.certificate, ("spec", "tls", "ca", "certificate"))
    operator = loaded.spec.spec.tls.operator
    if operator is not None and (loaded.path.parent / operator.certificate).exists():
        _check_operator(loaded, operator.certificate, ca.certificate, ca_pem)
    return Materials(ca_pem, _trusted_keys(loaded))


def _trusted_keys(loaded: LoadedSpec) -> tuple[str, ...]:
    policy = loaded.spec.spec.backup
    keys = []
    for i, name in enumerate(policy.encryption.trusted_keys if policy and policy.hosts else ()):
        path, address = loaded.path.parent / name, ("spec", "backup", "encryption", "trustedKeys", i)
        try:
            text = read_regular_file(path).decode("ascii")
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is no text"
            raise _invalid(loaded, address, f"{path} cannot be read: {why}", "name a public key") from None
        if "PUBLIC KEY" not in text or "PRIVATE KEY" in text:
            raise _invalid(loaded, address, f"{path} is no public key", "'etcdplan backup keygen' makes one")
        keys.append(text)
    return tuple(keys)


def _check_operator(loaded: LoadedSpec, name: str, ca_name: str, ca_pem: bytes) -> None:
    """Raise SpecInvalid for a certificate that no member will accept: it would look as if none of them served."""
    from etcdplan.pki.leaf import leads_to

    address = ("spec", "tls", "operator", "certificate")
    if not leads_to(_read_certificates(loaded, name, address), ca_pem):
        what = f"{loaded.path.parent / name} was not issued by the CA in {loaded.path.parent / ca_name}"
        raise _invalid(loaded, address, what, "name a client certificate that this CA issued")


def _read_certificates(loaded: LoadedSpec, name: str, address: Address) -> bytes:
    from etcdplan.errors import EtcdplanError
    from etcdplan.pki.leaf import trust_spkis

    path = loaded.path.parent / name
    remedy = f"{PKI_INIT} makes it"
    try:
        data = read_regular_file(path)
        if b"PRIVATE KEY" in data:
            what, remedy = f"{path} holds a private key", "name the file that holds certificates alone"
        elif len(data) > MAX_BYTES:
            what = f"{path} is larger than {MAX_BYTES // 1024} KiB"
        else:
            trust_spkis(data)
            return data
    except OSError as error:
        what = f"{path} cannot be read: {error.strerror}"
    except EtcdplanError as error:
        what, remedy = f"{path} does not hold certificates: {error.message}", error.hint or remedy
    raise _invalid(loaded, address, what, remedy)


def _invalid(loaded: LoadedSpec, address: Address, what: str, remedy: str) -> SpecInvalid:
    position = loaded.position(address)
    where = render_address(address)
    return SpecInvalid([Problem(loaded.path, position.line, position.column, where, what, remedy)])


def normalised(spec: Spec) -> dict[str, Any]:
    """`spec` as JSON values: keys sorted, defaults filled in, largest exact units. It is a valid spec too."""
    document: dict[str, Any] = json.loads(_canonical(spec))
    return document


def spec_digest(spec: Spec) -> str:
    """`sha256:…` over the normalised spec: comments, order of keys and spelling of units do not count."""
    return f"sha256:{hashlib.sha256(_canonical(spec).encode()).hexdigest()}"


def _canonical(spec: Spec) -> str:
    return json.dumps(spec.model_dump(mode="json", by_alias=True), sort_keys=True, separators=(",", ":"))
