"""One SSH connection: opened with a deadline to a host whose key is known, shared by threads, closed with all on it."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Any

from etcdplan.hosts.ports import HostUnreachable
from etcdplan.transport import ssh_host_certificate
from etcdplan.transport.ssh_config import Destination
from etcdplan.transport.ssh_host_certificate import MIN_RSA_BITS, SUFFIX
from etcdplan.transport.ssh_keys import authenticate
from etcdplan.transport.ssh_known_hosts import HostKey, HostKeyRefused, KnownHosts, lookup_name
from etcdplan.transport.ssh_paramiko import paramiko
from etcdplan.transport.ssh_sessions import Sessions

# Rated without a failure by ssh-audit 3.9.0, and without encrypt-and-MAC; docs/decisions/0009 has the table.
KEX = ("mlkem768x25519-sha256", "curve25519-sha256@libssh.org", "diffie-hellman-group16-sha512")
CIPHERS = ("aes256-gcm@openssh.com", "aes128-gcm@openssh.com", "aes256-ctr", "aes192-ctr", "aes128-ctr")
MACS = ("hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com")
HOST_KEYS = {"ssh-ed25519": ("ssh-ed25519",), "ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256")}
"""Types of host keys as known_hosts names them, and the algorithms to ask for."""

_MAX_PACKET = (1 << 18) + 1024  # OpenSSH's PACKET_MAX_SIZE, and a MAC
_MAX_BANNER = 1 << 16
_GRACE = 0.3
_LOST_REFUSAL = "Unable to open channel."
"""What paramiko says of a refusal whose reason it gave to another thread that was refused at the same time."""
_UNANSWERED_KEEPALIVES = 3


class _BoundedPacketizer(paramiko.packet.Packetizer):  # type: ignore[misc]  # paramiko has no types
    """Refuses what a hostile server would fill the memory with: a banner without end, packets of gigabytes."""

    _banner = 0

    def read_all(self, n: int, check_rekey: bool = False) -> bytes:
        if n > _MAX_PACKET:
            raise paramiko.SSHException("it sent a packet that is too large")
        data: bytes = super().read_all(n, check_rekey)
        return data

    def _read_timeout(self, timeout: float) -> bytes:
        data: bytes = super()._read_timeout(timeout)
        self._banner += len(data)
        if self._banner > _MAX_BANNER:
            raise paramiko.SSHException("it does not begin as SSH does")
        return data


def _within_window(feed: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
    def checked(channel: Any, message: Any) -> None:
        if len(channel.in_buffer) + len(channel.in_stderr_buffer) > 2 * channel.in_window_size:
            raise paramiko.SSHException("it sends more than it may")
        feed(channel, message)

    return checked


class _Transport(paramiko.Transport):  # type: ignore[misc]
    """Offers our algorithms and no others, and ends when a server sends more than was asked for."""

    _channel_handler_table = paramiko.Transport._channel_handler_table | {
        paramiko.common.MSG_CHANNEL_DATA: _within_window(paramiko.Channel._feed),
        paramiko.common.MSG_CHANNEL_EXTENDED_DATA: _within_window(paramiko.Channel._feed_extended),
    }

    _preferred_kex = tuple(algorithm for algorithm in KEX if algorithm in paramiko.Transport._kex_info)
    _preferred_ciphers = CIPHERS
    _preferred_macs = MACS

    @property
    def preferred_keys(self) -> tuple[str, ...]:
        """The algorithms of host keys; paramiko's own property offers certificates unasked."""
        keys: tuple[str, ...] = self._preferred_keys
        return keys


class SessionRefused(HostUnreachable):
    """The server does not open another session (sshd's `MaxSessions`)."""


class Connection:
    """A connection to `destination`, authenticated; raises `HostUnreachable` while it is opened."""

    def __init__(
        self,
        destination: Destination,
        deadline: float,
        through: "Connection | None" = None,
        *,
        answered: Callable[[], object] = bool,
    ) -> None:
        """Connect, through another connection when one is given. No credential is sent to a host that is not known.

        `answered` is called as soon as the host does, before anything of SSH.
        """
        self.destination = destination
        self.sessions = Sessions()
        self._at_end: list[Callable[[], None]] = []
        self._is_cut = False
        known = KnownHosts(destination.known_hosts, needed=destination.known_hosts_needed)
        name = destination.alias or lookup_name(destination.host, destination.port)
        dialled = min(deadline, time.monotonic() + destination.dial_timeout)
        if through:
            self._socket: Any = through.open_channel(
                "direct-tcpip", dialled, (destination.host, destination.port)
            )
        else:
            self._socket = _dial(destination, dialled)
        answered()
        try:
            self._transport = _Transport(self._socket, packetizer_class=_BoundedPacketizer)
            with self.watched(deadline):
                self._agree_on_keys(known, name, deadline)
                self._check_host_key(known, name)
                authenticate(self._transport, destination, deadline)
            self._transport.set_keepalive(int(max(1, destination.keepalive)))
        except BaseException:
            self.close()
            raise

    @property
    def alive(self) -> bool:
        """Whether the connection was not seen to end."""
        # What was cut here its own thread notices a moment later only.
        return not self._is_cut and bool(self._transport.is_active())

    def open_channel(self, kind: str, deadline: float, to: tuple[str, int] | None = None) -> paramiko.Channel:
        """Open a channel; raise `HostUnreachable`, or `SessionRefused` when the server lets no further session in."""
        name = self.destination.name
        left(deadline)  # late callers do not harm the connection
        try:
            with self.watched(deadline):
                origin = ("127.0.0.1", 0) if to else None
                return self._transport.open_channel(kind, to, origin, timeout=left(deadline))
        except paramiko.ChannelException as error:
            what = f"a connection to {to[0]} port {to[1]}" if to else "a session"
            said = f"{name} does not open {what}: {error.text or error}."
            if to:
                raise HostUnreachable(said) from error
            raise SessionRefused(said, hint="sshd's MaxSessions there must be 1 or more.") from error
        except (paramiko.SSHException, EOFError, OSError) as error:
            if time.monotonic() >= deadline:
                if to:  # it may be waiting itself, for a host that drops packets
                    raise HostUnreachable(
                        f"{to[0]} port {to[1]} cannot be connected to from {name}: no answer in time."
                    ) from error
                self.close()  # a server that does not answer to this answers to nothing
            if not to and self.alive and str(error) == _LOST_REFUSAL:
                raise SessionRefused(f"{name} does not open a session.") from error
            raise HostUnreachable(f"The SSH connection to {name} broke: {_reason(error)}.") from error

    @contextmanager
    def watched(self, deadline: float) -> Iterator[None]:
        """End the connection when the block is still in paramiko, which waits without a deadline here and there."""
        timer = threading.Timer(left(deadline) + _GRACE, self._cut)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def at_end(self, action: Callable[[], None]) -> None:
        """Have something done when the connection is closed."""
        self._at_end.append(action)

    def close(self) -> None:
        """End the connection and all that goes through it. May be repeated."""
        for action in self._at_end:
            action()
        self._cut()
        if hasattr(self, "_transport"):
            self._transport.close()
        self._socket.close()

    def _cut(self) -> None:
        """Wake every thread that waits for the socket, so that none has to be waited for."""
        self._is_cut = True
        with suppress(OSError):
            if isinstance(self._socket, paramiko.Channel):
                self._socket.close()
            else:
                self._socket.shutdown(socket.SHUT_RDWR)

    def _agree_on_keys(self, known: KnownHosts, name: str, deadline: float) -> None:
        transport = self._transport
        transport.banner_timeout = transport.handshake_timeout = transport.auth_timeout = (
            left(deadline) + _GRACE
        )
        # The types that are known come first, else a host that shows another of its keys seems to be unknown.
        known_types = known.key_types(name)
        types = sorted(HOST_KEYS, key=lambda key_type: key_type not in known_types)
        plain = [algorithm for key_type in types for algorithm in HOST_KEYS[key_type]]
        certified = [algorithm + SUFFIX for algorithm in plain] if known.has_authority(name) else []
        transport._preferred_keys = (*certified, *plain)
        done = threading.Event()
        transport.start_client(done)
        if not done.wait(left(deadline)) or not transport.is_active():
            error = transport.get_exception()
            reason = _reason(error) if error else "no answer in time"
            if known_types and not set(known_types) & set(HOST_KEYS):
                reason += (
                    f" (recorded for it is only a key of type {', '.join(known_types)}, which is not used)"
                )
            raise HostUnreachable(
                f"{self.destination.name} port {self.destination.port} does not agree to an SSH connection: {reason}.",
                hint="An sshd that just gets many connections drops some of the new ones (MaxStartups): try again."
                if "protocol banner" in reason
                else "",
            )

    def _check_host_key(self, known: KnownHosts, name: str) -> None:
        key: paramiko.PKey = self._transport.get_remote_server_key()
        if isinstance(key, paramiko.RSAKey) and key.get_bits() < MIN_RSA_BITS:
            raise HostKeyRefused(
                f"{name} has an RSA key of {key.get_bits()} bits; {MIN_RSA_BITS} are needed.",
                hint="Make it an ed25519 key (ssh-keygen -A).",
            )
        plain = HostKey(key.get_name(), key.asbytes())
        if self._transport.host_key_type.endswith(SUFFIX):
            host = self.destination.alias or self.destination.host
            ssh_host_certificate.check_certificate(known, name, host, key.public_blob.key_blob, plain)
        else:
            known.check(name, plain)


def left(deadline: float) -> float:
    """Return the seconds until the deadline (of the monotonic clock); raise `TimeoutError` when it has passed."""
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise TimeoutError("no answer in time")
    return seconds


def _dial(destination: Destination, deadline: float) -> socket.socket:
    where = f"{destination.host} port {destination.port}"
    try:
        addresses = _resolve(destination.host, destination.port, deadline)
        for index, (family, kind, protocol, _, address) in enumerate(addresses):
            connection = socket.socket(family, kind, protocol)
            try:
                connection.settimeout(left(deadline) / (len(addresses) - index))
                connection.connect(address)
            except OSError:
                connection.close()
                if index == len(addresses) - 1:
                    raise
            else:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if hasattr(socket, "TCP_USER_TIMEOUT"):
                    # The kernel gives up on a peer that does not take in what keepalive sends.
                    silent = int(1000 * _UNANSWERED_KEEPALIVES * max(1, destination.keepalive))
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, silent)
                return connection
        raise OSError("it has no address")
    except OSError as error:
        raise HostUnreachable(f"{where} cannot be connected to: {_reason(error)}.") from error


def _resolve(host: str, port: int, deadline: float) -> list[Any]:
    """Look a name up with a deadline, which the system's resolver does not have."""
    with suppress(socket.gaierror):
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    future: Future[list[Any]] = Future()

    def look_up() -> None:
        try:
            future.set_result(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            future.set_exception(OSError(f"its name cannot be looked up ({_reason(error)})"))

    threading.Thread(target=look_up, daemon=True).start()
    return future.result(left(deadline))


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, EOFError):
        return "it ended the connection"
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return text.strip().rstrip(".")
