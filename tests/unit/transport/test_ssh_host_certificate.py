"""Host certificates that were tampered with prove nothing."""

import base64
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from etcdplan.transport.ssh_host_certificate import check_certificate
from etcdplan.transport.ssh_known_hosts import HostKey, HostKeyRefused, KnownHosts
from tests.support.sshd import blob, keygen, make_key, public


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, one that is not trusted, a host's key, and known_hosts."""
    place = tmp_path_factory.mktemp("certificates")
    for name, kind in (("ca", "rsa"), ("ca25519", "ed25519"), ("other", "ed25519"), ("host", "ed25519")):
        make_key(place / name, kind)
    trusted = "".join(f"@cert-authority h1 {public(place / name)}\n" for name in ("ca", "ca25519"))
    (place / "known_hosts").write_text(trusted)
    return place


def certificate(place: Path, authority: str, *options: str) -> bytes:
    keygen(
        "-q", "-s", str(place / authority), "-I", "id", "-h", "-n", "h1", *options, str(place / "host.pub")
    )
    return base64.b64decode((place / "host-cert.pub").read_text().split()[1])


def check(place: Path, content: bytes, host: str = "h1") -> None:
    plain = HostKey("ssh-ed25519", blob(place / "host"))
    check_certificate(KnownHosts([place / "known_hosts"]), host, host, content, plain)


@pytest.mark.parametrize("authority", ["ca", "ca25519"])
def test_a_genuine_one(place: Path, authority: str) -> None:
    check(place, certificate(place, authority))


def test_one_that_somebody_else_signed_in_the_authoritys_name(place: Path) -> None:
    forged = certificate(place, "other").replace(blob(place / "other"), blob(place / "ca25519"))
    with pytest.raises(HostKeyRefused, match="its signature is not the authority's"):
        check(place, forged)


def test_one_that_is_signed_with_sha1(place: Path) -> None:
    with pytest.raises(HostKeyRefused, match="its signature is not the authority's"):
        check(place, certificate(place, "ca", "-t", "ssh-rsa"))
    check(place, certificate(place, "ca", "-t", "rsa-sha2-256"))


def test_one_without_names_is_for_nobody(place: Path) -> None:
    genuine = certificate(place, "ca25519")
    with pytest.raises(HostKeyRefused, match="is for h1"):
        check_certificate(
            KnownHosts([place / "known_hosts"]),
            "h1",
            "h2",
            genuine,
            HostKey("ssh-ed25519", blob(place / "host")),
        )


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_changed_or_missing_byte_is_noticed(place: Path, data: st.DataObject) -> None:
    genuine = (
        (place / "genuine").read_bytes() if (place / "genuine").exists() else certificate(place, "ca25519")
    )
    (place / "genuine").write_bytes(genuine)
    at = data.draw(st.integers(0, len(genuine) - 1))
    changed = bytearray(genuine)
    changed[at] ^= data.draw(st.integers(1, 255))
    for content in (bytes(changed), genuine[:at], genuine + b"\0"):
        with pytest.raises(HostKeyRefused):
            check(place, content)
