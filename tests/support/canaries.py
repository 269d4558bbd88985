"""Secrets that are planted, and the search for them in whatever was written down, in the forms that a leak may take."""

import base64
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import quote, quote_plus

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_ssh_private_key

_BREAKS = re.compile(rb"\s+|\\[nr]")


@dataclass(frozen=True)
class Canary:
    """A secret by name. `value` is what gives it away: of a private key the number itself, however it is wrapped."""

    name: str
    value: bytes
    text: str = ""
    """As its owner keeps it, such as a PEM file."""

    @classmethod
    def word(cls, name: str, word: str) -> "Canary":
        """A password, a token."""
        return cls(name, word.encode(), word)

    @classmethod
    def key(cls, name: str, text: str) -> "Canary":
        """A private key in PEM, or OpenSSH's form."""
        load = load_ssh_private_key if "OPENSSH" in text else load_pem_private_key
        match load(text.encode(), None):
            case EllipticCurvePrivateKey() as key:
                return cls(name, key.private_numbers().private_value.to_bytes(32, "big"), text)
            case Ed25519PrivateKey() as key:
                return cls(name, key.private_bytes_raw(), text)
            case other:
                raise ValueError(f"{name} is a {type(other).__name__}")

    def leaks(self) -> dict[str, bytes]:
        """Return how it may be written down, by the name of the form."""
        whole = (self.text or self.value.hex()).encode()
        return {
            "raw": whole,
            "bytes": self.value,
            "base64": base64.encodebytes(b"before " + whole),
            "base64 twice": base64.b64encode(base64.b64encode(b"?" + whole)),
            "base64, URL": base64.urlsafe_b64encode(whole),
            "hex": self.value.hex().encode(),
            "HEX": self.value.hex().upper().encode(),
            "URL": quote(self.value, safe="").encode(),
            "form": quote_plus(self.value).encode(),
            "JSON": json.dumps({"it": whole.decode()}).encode(),
            "repr": repr(self.value).encode(),
        }


class Haystack:
    """A place, as it is and without the breaks that wrap what is long."""

    def __init__(self, place: bytes) -> None:
        self._place = place
        self._joined = _BREAKS.sub(b"", place)
        self._lower = self._joined.lower()

    def has(self, canary: Canary) -> bool:
        """Whether it has the canary in any form."""
        return any(
            needle in (self._lower if form == "hex" else self._place) or needle in self._joined
            for form, needle in _needles(canary)
        )


def _needles(canary: Canary) -> Iterator[tuple[str, bytes]]:
    value = canary.value
    yield "raw", value
    yield "hex", value.hex().encode()
    yield "URL", quote(value, safe="").encode()
    yield "URL", quote_plus(value).encode()
    yield "repr", repr(value)[2:-1].encode()
    texts = [value]
    if canary.text:
        # A key in PEM is base64 already: its number stands in it, and what wraps the text again wraps that.
        yield "JSON", json.dumps(canary.text)[1:-1].encode()
        yield "JSON", json.dumps(canary.text, ensure_ascii=False)[1:-1].encode()
        if canary.text.encode() != value:
            texts.append(canary.text.strip().encode())
    for text in texts:
        for once in _aligned(text):
            yield "base64", once
            yield "base64", once.replace(b"+", b"-").replace(b"/", b"_")
            for twice in _aligned(once):
                yield "base64", twice


def _aligned(value: bytes) -> Iterator[bytes]:
    """Yield the base64 of a value wherever it begins in what is encoded, without the ends that its neighbours share."""
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + value).rstrip(b"=")
        end = -1 if (before + len(value)) % 3 else None
        yield encoded[(0, 2, 3)[before] : end]


def found(places: Mapping[str, bytes], canaries: Iterable[Canary]) -> set[tuple[str, str]]:
    """Return place and canary of every leak."""
    wanted = tuple(canaries)
    stacks = {name: Haystack(place) for name, place in places.items()}
    return {(name, canary.name) for name, stack in stacks.items() for canary in wanted if stack.has(canary)}
