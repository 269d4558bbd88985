"""The search for secrets finds each form in which one can be written down."""

import secrets

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.support.canaries import Canary, Haystack


def canaries() -> list[Canary]:
    def pem(key: ec.EllipticCurvePrivateKey | Ed25519PrivateKey, form: PrivateFormat) -> str:
        return key.private_bytes(Encoding.PEM, form, NoEncryption()).decode()

    return [
        Canary.word("password", f'é"%+/= {secrets.token_urlsafe(12)}'),
        Canary.word("token", secrets.token_urlsafe(16)),
        Canary.key("EC", pem(ec.generate_private_key(ec.SECP256R1()), PrivateFormat.PKCS8)),
        Canary.key("SEC 1", pem(ec.generate_private_key(ec.SECP256R1()), PrivateFormat.TraditionalOpenSSL)),
        Canary.key("SSH", pem(Ed25519PrivateKey.generate(), PrivateFormat.OpenSSH)),
    ]


@pytest.mark.parametrize("canary", canaries(), ids=lambda canary: canary.name)
def test_every_form_is_found_and_nothing_else(canary: Canary) -> None:
    for form, leak in canary.leaks().items():
        for before in (b"", b"a", b"ab", b"\xff\n{"):
            assert Haystack(before + leak + b" behind").has(canary), form
    others = b"\n".join(leak for other in canaries() for leak in other.leaks().values())
    assert not Haystack(others).has(canary)
