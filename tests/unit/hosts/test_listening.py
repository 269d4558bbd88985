"""The kernel's tables of sockets, as they are written and as real sockets make them."""

import socket
from pathlib import Path

import pytest

from etcdplan.hosts.listening import listening

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("0: 0100007F:094B 00000000:0000 0A 00000000:00000000", (("127.0.0.1", 2379),)),
        ("0: 00000000:094C 00000000:0000 0A 00000000:00000000", (("*", 2380),)),
        ("0: 00000000000000000000000000000000:0016 0:0000 0A 0", (("*", 22),)),
        ("0: B80D0120000000000000000001000000:094B 0:0000 0A 0", (("2001:db8::1", 2379),)),
        ("0: 0000000000000000FFFF00000100000A:094B 0:0000 0A 0", (("10.0.0.1", 2379),)),
        ("0: 0100007F:094B 0100007F:A000 01 00000000:00000000", ()),
    ],
)
def test_a_line(line: str, expected: tuple[tuple[str, int], ...]) -> None:
    assert listening(f"{HEAD}   {line}\n") == expected


def test_a_real_socket() -> None:
    with socket.create_server(("127.9.9.9", 0)) as server:
        taken = listening(Path("/proc/net/tcp").read_text())
        assert ("127.9.9.9", server.getsockname()[1]) in taken


@pytest.mark.parametrize(
    "line", ["0: xyz:094B 0:0000 0A", "0: 0100007F:zz 0:0000 0A", "0: 01:094B 0:0000 0A"]
)
def test_nonsense_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        listening(line)
