"""Certificates of the fake world: JSON where PEM would be, so that thousands of them cost nothing.

A certificate is `{"issuer", "sans", "usages", "not_after", "key"}`, a signing request `{"key"}`, a CA bundle a list of
SPKI fingerprints. `key` names the private key that stays on its machine.
"""

import json
from collections.abc import Iterable
from functools import lru_cache

from etcdplan.model.state import Leaf


def fake_leaf(
    *,
    issuer: str,
    sans: Iterable[str] = (),
    usages: Iterable[str] = (),
    not_after: float,
    csr: bytes | None = None,
    key: str = "",
) -> bytes:
    """Sign a certificate for the key of a signing request, or for a key by name."""
    key = json.loads(csr)["key"] if csr is not None else key
    fields = {"issuer": issuer, "sans": [*sans], "usages": [*usages], "not_after": int(not_after), "key": key}
    return json.dumps(fields).encode()


def fake_trust(*spkis: str) -> bytes:
    """Write a CA bundle."""
    return json.dumps(spkis).encode()


@lru_cache(maxsize=10_000)
def describe_leaf(pem: bytes) -> Leaf:
    """Read a certificate; whether the key beside it fits is for the host to say."""
    fields = json.loads(pem)
    return Leaf(
        issuer=fields["issuer"],
        sans=tuple(fields["sans"]),
        usages=tuple(fields["usages"]),
        key_matches=True,
        not_after=fields["not_after"],
    )


@lru_cache(maxsize=1_000)
def describe_trust(pem: bytes) -> tuple[str, ...]:
    """Read a CA bundle."""
    return tuple(json.loads(pem))


@lru_cache(maxsize=10_000)
def key_of(pem: bytes) -> str:
    """Return the name of the private key that a certificate belongs to."""
    return str(json.loads(pem)["key"])
