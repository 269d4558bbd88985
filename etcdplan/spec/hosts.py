"""Host names and addresses, in one spelling each."""

import ipaddress
import re
from typing import Final

from etcdplan.spec.problems import Invalid, shown

_LABEL: Final = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_HOST_NAME: Final = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_WANTED: Final = (
    "write an IPv4 address, an IPv6 address without brackets, or a DNS name, without scheme and port"
)


def normalise_host(value: str) -> str:
    """`value` as an IPv4 address, a canonical IPv6 address (RFC 5952), or a lower-case DNS name (RFC 1123).

    Raises Invalid for anything else and for addresses that reach no single host: unspecified ones such as
    0.0.0.0, multicast and broadcast. An IPv4-mapped IPv6 address becomes the IPv4 address.
    """
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        name = value.lower()
        # RFC 1123, 2.1: a last label of digits alone marks a (here malformed) IPv4 address, not a name.
        if len(name) > 253 or not _HOST_NAME.fullmatch(name) or name.rpartition(".")[2].isdigit():
            raise Invalid(f"{shown(value)} is not a host", _WANTED) from None
        return name
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            raise Invalid(f"{shown(value)} has a zone, which means something on one host only", _WANTED)
        address = address.ipv4_mapped or address
    if address.is_unspecified or address.is_multicast or address == ipaddress.IPv4Address(0xFFFFFFFF):
        raise Invalid(
            f"{shown(value)} is no single host's address", "write the address that other hosts reach"
        )
    return str(address)
