"""Which addresses and TCP ports of a machine are taken, from the kernel's tables."""

import ipaddress

from etcdplan.model.machine import ANY_ADDRESS

_LISTENING = "0A"


def listening(tables: str) -> tuple[tuple[str, int], ...]:
    """Return who listens where, from lines of `/proc/net/tcp` and `/proc/net/tcp6`; raise `ValueError`."""
    found = set()
    for line in tables.splitlines():
        words = line.split()
        if words[3:4] == [_LISTENING]:
            address, _, port = words[1].partition(":")
            found.add((_address(address), int(port, 16)))
    return tuple(sorted(found))


def _address(spelled: str) -> str:
    """Read an address that the kernel spelled: words of four bytes, each in the order of a little-endian machine."""
    words = (spelled[start : start + 8] for start in range(0, len(spelled), 8))
    address = ipaddress.ip_address(b"".join(bytes.fromhex(word)[::-1] for word in words))
    plain = getattr(address, "ipv4_mapped", None) or address
    return ANY_ADDRESS if plain.is_unspecified else str(plain)
