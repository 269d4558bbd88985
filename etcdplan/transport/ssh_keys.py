"""How the controller proves to a host who it is: keys of an agent and from files, and nothing that asks a person."""

import io
import socket
import threading
import time
from base64 import b64decode
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    load_ssh_private_key,
)

from etcdplan.hosts.ports import HostUnreachable
from etcdplan.transport.ssh_config import Destination
from etcdplan.transport.ssh_host_certificate import SUFFIX
from etcdplan.transport.ssh_known_hosts import HostKey
from etcdplan.transport.ssh_paramiko import paramiko

_MAX_AGENT_REPLY = 1 << 20
_AGENT_LISTS = 2.0
"""Seconds to list its keys; to sign it may ask its owner, and take all the time there is."""


class Agent(paramiko.agent.AgentSSH):  # type: ignore[misc]  # paramiko has no types
    """The keys of the SSH agent at a socket; none when nobody answers there."""

    def __init__(self, path: Path, deadline: float) -> None:
        super().__init__()
        connection = socket.socket(socket.AF_UNIX)
        try:
            self._deadline = min(deadline, time.monotonic() + _AGENT_LISTS)
            connection.settimeout(_left(self._deadline))
            connection.connect(str(path))
            self._connect(connection)
            self._deadline = deadline
        except (OSError, paramiko.SSHException, ValueError):
            connection.close()

    def _read_all(self, wanted: int) -> bytes:
        if wanted > _MAX_AGENT_REPLY:
            raise paramiko.SSHException("the SSH agent's answer is too long")
        reply = b""
        while len(reply) < wanted:
            self._conn.settimeout(_left(self._deadline))
            part = self._conn.recv(wanted - len(reply))
            if not part:
                raise paramiko.SSHException("lost ssh-agent")
            reply += part
        return reply

    def close(self) -> None:
        """Drop the connection."""
        self._close()


def authenticate(transport: paramiko.Transport, destination: Destination, deadline: float) -> None:
    """Log in with the first key that the host takes; raise `HostUnreachable` when it takes none.

    Keys of the agent come first, and only those of the identity files when `IdentitiesOnly` is set; then the files.
    """
    where = f"{destination.user}@{destination.name}"
    agent = Agent(destination.agent, deadline) if destination.agent else None
    notes: list[str] = []
    try:
        for key in _keys(destination, agent, notes):
            tried = threading.Event()
            transport.auth_publickey(destination.user, key, tried)
            if not tried.wait(_left(deadline)):
                raise HostUnreachable(f"{where} does not answer to the login in time.")
            if transport.is_authenticated():
                return
            failure = transport.get_exception()
            if not transport.is_active():
                notes.append(f"the host ended the connection after {_named(key)}")
                break
            if (
                isinstance(failure, paramiko.BadAuthenticationType)
                and "publickey" not in failure.allowed_types
            ):
                notes.append(f"it wants {' or '.join(failure.allowed_types)} and no key")
                break
            notes.append(f"{_named(key)} is not taken")
    except (paramiko.SSHException, EOFError, OSError) as error:
        raise HostUnreachable(f"The login as {where} failed: {error}.") from error
    finally:
        if agent:
            agent.close()
    raise HostUnreachable(
        f"{where} does not let this machine log in: {'; '.join(notes) or 'there is no key to show'}.",
        hint="Put the public key into that user's authorized_keys, or name the right User, IdentityFile or"
        " IdentityAgent in the SSH configuration.",
    )


def _keys(destination: Destination, agent: Agent | None, notes: list[str]) -> Iterator[paramiko.PKey]:
    """Yield the keys to try, each once; what cannot be used is added to `notes`."""
    offered: set[bytes] = set()
    named = {blob for file in destination.identity_files for blob in _public_blobs(file)}
    held: tuple[paramiko.AgentKey, ...] = agent.get_keys() if agent else ()
    for key in sorted(held, key=lambda key: (key.blob not in named, not key.name.endswith(SUFFIX))):
        if key.blob in named or not destination.identities_only:
            if key.name.endswith(SUFFIX):
                key.public_blob = paramiko.pkey.PublicBlob(key.name, key.blob)
            offered.add(key.blob)
            yield key
    for file in destination.identity_files:
        if offered.intersection(_public_blobs(file)):
            continue
        try:
            key = _load(file)
        except FileNotFoundError:
            continue
        except TypeError:
            notes.append(f"{file} is encrypted (add it to an agent: ssh-add)")
        except (
            OSError,
            ValueError,
            paramiko.SSHException,
            UnsupportedAlgorithm,
            paramiko.UnknownKeyType,
        ) as error:
            notes.append(
                f"{file} cannot be used ({getattr(error, 'strerror', None) or 'not a key of a known type'})"
            )
        else:
            if key.asbytes() not in offered:
                offered.add(key.asbytes())
                yield key


def _load(file: Path) -> paramiko.PKey:
    """Load a private key with the certificate beside it; raise `TypeError` for one that is encrypted.

    paramiko 5.1 itself rejects every second ECDSA key without a comment: it takes the comment's length for padding.
    """
    content = file.read_bytes()
    try:
        loaded: object = load_ssh_private_key(content, None)
    except ValueError:
        loaded = load_pem_private_key(content, None)
    match loaded:
        case RSAPrivateKey():
            key = paramiko.RSAKey(key=loaded)
        case EllipticCurvePrivateKey():
            key = paramiko.ECDSAKey(vals=(loaded, loaded.public_key()))
        case Ed25519PrivateKey():
            text = loaded.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
            key = paramiko.Ed25519Key.from_private_key(io.StringIO(text))
        case _:
            raise ValueError("not a key of a known type")
    certificate = Path(f"{file}-cert.pub")
    if certificate.exists():
        key.load_certificate(str(certificate))
    return key


def _public_blobs(file: Path) -> Iterator[bytes]:
    """Yield the public key, and the certificate, that lie beside a file with a private key."""
    for path in (f"{file}.pub", f"{file}-cert.pub"):
        with suppress(OSError, ValueError, IndexError):
            yield b64decode(Path(path).read_text().split()[1], validate=True)


def _named(key: paramiko.PKey) -> str:
    blob = key.asbytes()
    return str(HostKey(paramiko.Message(blob).get_text(), blob))


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("the deadline has passed")
    return left
