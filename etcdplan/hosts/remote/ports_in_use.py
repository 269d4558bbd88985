"""Which lines of `/proc/net/tcp` and `/proc/net/tcp6` show that an address and port are taken."""

import ipaddress
from collections.abc import Iterator
from urllib.parse import urlsplit

from etcdplan.model.state import Settings

_LISTENING = "0A"


def listens(settings: Settings, *, etcd: bool) -> Iterator[tuple[str, int]]:
    """Yield the addresses and ports that settings let a program listen on."""
    if etcd:
        for flag in ("listen-peer-urls", "listen-client-urls", "listen-metrics-urls"):
            for url in filter(None, settings.get(flag, "").split(",")):
                parts = urlsplit(url)
                if parts.hostname and parts.port:
                    yield parts.hostname, parts.port
    else:
        yield settings.get("bind-address", "0.0.0.0"), int(settings.get("secure-port", "6443"))  # noqa: S104


def pattern(address: str, port: int) -> str:
    """Return an extended regular expression for the lines of whoever listens there already."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        ip = None
    anybody = "0{8}|0{32}"
    if ip is None or ip.is_unspecified:
        wanted = "[0-9A-F]+"
    elif ip.version == 4:
        wanted = f"{_hex(ip.packed)}|0{{16}}FFFF0000{_hex(ip.packed)}|{anybody}"
    else:
        wanted = f"{_hex(ip.packed)}|{anybody}"
    return f": ({wanted}):{port:04X} 0+:0000 {_LISTENING} "


def _hex(packed: bytes) -> str:
    """Spell an address as the kernel does: words of four bytes, each in the order of a little-endian machine."""
    return "".join(packed[start : start + 4][::-1].hex().upper() for start in range(0, len(packed), 4))
