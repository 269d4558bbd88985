"""Host certificates of OpenSSH (its PROTOCOL.certkeys): checked here, since paramiko reads them without checking."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

from etcdplan.transport.ssh_known_hosts import HostKey, HostKeyRefused, KnownHosts, matches
from etcdplan.transport.ssh_paramiko import paramiko

SUFFIX = "-cert-v01@openssh.com"
MIN_RSA_BITS = 2048
_HOST = 2
_NUMBERS = {"ssh-ed25519": 1, "ssh-rsa": 2}
"""How many fields the public key has, by type."""
_SIGNATURES = {"ssh-ed25519": ("ssh-ed25519",), "ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256")}
"""What an authority of each type may sign with."""


@dataclass(frozen=True, slots=True)
class HostCertificate:
    """What a certificate says. `name` is its ID; times are unix seconds; `signed` is what the signature covers."""

    type: str
    kind: int
    name: str
    principals: tuple[str, ...]
    valid_after: int
    valid_before: int
    critical_options: bytes
    authority: HostKey
    signed: bytes
    signature: bytes


def check_certificate(known: KnownHosts, name: str, host: str, blob: bytes, plain: HostKey) -> None:
    """Return when the certificate makes `plain` the key of `host`; else raise `HostKeyRefused`.

    `name` is the lookup name for known_hosts, `host` the name without the port, which must be among the principals.
    """
    try:
        certificate = _parse(blob)
        genuine = _is_genuine(certificate)
    except (paramiko.SSHException, ValueError, KeyError, IndexError) as error:
        raise HostKeyRefused(f"{name} shows a host certificate that cannot be read.") from error
    known.check_not_revoked(name, plain)
    known.check_authority(name, certificate.authority)
    now = time.time()
    wrong = (
        "its signature is not the authority's"
        if not genuine
        else "it is a user's certificate and no host's"
        if certificate.kind != _HOST
        else f"it is for {', '.join(certificate.principals) or 'nobody'}"
        if not matches((p for p in certificate.principals if not p.startswith("!")), host.lower())
        else "it is not valid yet"
        if now < certificate.valid_after
        else "it has expired"
        if now >= certificate.valid_before
        else "it has critical options, and none is known for hosts"
        if certificate.critical_options
        else ""
    )
    if wrong:
        raise HostKeyRefused(
            f'The host certificate "{certificate.name}" that {name} shows does not prove its key: {wrong}.',
            hint="Sign the host's key anew (ssh-keygen -s CA -h -n NAMES), and check this machine's clock.",
        )


def _parse(blob: bytes) -> HostCertificate:
    message = paramiko.Message(blob)
    key_type = message.get_text()
    message.get_binary()  # nonce
    for _ in range(_NUMBERS[key_type.removesuffix(SUFFIX)]):
        message.get_binary()
    message.get_int64()  # serial number
    kind, name = message.get_int(), message.get_binary().decode("utf-8", "backslashreplace")
    principals = tuple(text.decode().lower() for text in _strings(message.get_binary()))
    after, before = message.get_int64(), message.get_int64()
    critical = message.get_binary()
    message.get_binary()  # extensions
    message.get_binary()  # reserved
    authority = message.get_binary()
    signed = message.get_so_far()
    (signature,) = _strings(message.get_remainder())
    return HostCertificate(
        type=key_type,
        kind=kind,
        name=name,
        principals=principals,
        valid_after=after,
        valid_before=before,
        critical_options=critical,
        authority=HostKey(paramiko.Message(authority).get_text(), authority),
        signed=signed,
        signature=signature,
    )


def _strings(packed: bytes) -> Iterator[bytes]:
    """Yield the strings that `packed` holds, and nothing but them (paramiko reads past the end as zeros)."""
    while packed:
        length = int.from_bytes(packed[:4], "big")
        if len(packed) < 4 + length:
            raise ValueError("a string is cut off")
        yield packed[4 : 4 + length]
        packed = packed[4 + length :]


def _is_genuine(certificate: HostCertificate) -> bool:
    authority = certificate.authority
    algorithm, _ = _strings(certificate.signature)
    if algorithm.decode() not in _SIGNATURES[authority.type]:
        return False
    key = paramiko.PKey.from_type_string(authority.type, authority.blob)
    if isinstance(key, paramiko.RSAKey) and key.get_bits() < MIN_RSA_BITS:
        return False
    return bool(key.verify_ssh_sig(certificate.signed, paramiko.Message(certificate.signature)))
