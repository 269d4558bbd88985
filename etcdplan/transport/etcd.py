"""A typed client of etcd's Cluster and Maintenance services: one endpoint, one connection, no retries.

Every call takes a deadline in seconds. Without quorum a server answers a linearizable read after 7 s with default
timings (etcd `config.ReqTimeout`), a promotion asked of a follower too, and any other membership change never: it
waits as long as the caller (`EtcdServer.configure`), and the change may still happen after that.
"""

import ipaddress
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Self, TypeVar
from urllib.parse import urlsplit

from google.protobuf.message import Message

from etcdplan.pki.secret import Secret
from etcdplan.transport import etcd_pb2 as pb
from etcdplan.transport.ahead import taken_ahead
from etcdplan.transport.errors import EtcdOutcomeUnknown, EtcdRejected, EtcdUnreachable, Reason
from etcdplan.transport.quiet_grpc import grpc
from etcdplan.transport.silence import until_silent

_ReplyT = TypeVar("_ReplyT", bound=Message)

_OPTIONS = (
    # A mutating call must not be sent twice, nor anything else behind the caller's back.
    ("grpc.enable_retries", 0),
    ("grpc.service_config_disable_resolution", 1),
    # Like etcd's own client: the endpoint is dialled as it stands, whatever http_proxy says.
    ("grpc.enable_http_proxy", 0),
    # A value may be as large as --max-request-bytes lets it; gRPC itself takes 4 MiB.
    ("grpc.max_receive_message_length", 64 << 20),
    # Else two clients of one endpoint share a connection, its handshake and its back-off.
    ("grpc.use_local_subchannel_pool", 1),
    # A snapshot is read by the thread that wants it: half the processor time of gRPC's own thread in between
    # (`grpc.experimental.ChannelOptions.SingleThreadedUnaryStream`, whose import would cost more than its name).
    ("SingleThreadedUnaryStream", 1),
    # A member that starts is seen within 0.1 s; "min" is the time that one attempt to connect may take.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 5000),
    # etcd answers pings oftener than every 5 s with "too many pings" (--grpc-keepalive-min-time).
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5000),
)

_NEVER_SENT = ("failed to connect to all addresses", "errors resolving ", "DNS resolution failed")
"""How gRPC's C core begins its details when no connection came about. Other words count as possibly sent."""

_DEACTIVATE, _CORRUPT = 2, 2
"""Of etcd's AlarmRequest.AlarmAction and AlarmType."""

_REASONS = {reason.value: reason for reason in Reason}
_PAGE: Final = 4000
"""Keys in one answer: some hundred kilobytes."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What TLS needs, all PEM: the CA that must have issued the server's certificate, and the own pair."""

    ca_pem: bytes
    certificate_pem: bytes
    key: Secret


@dataclass(frozen=True, slots=True)
class Status:
    """What one member says of itself, without asking the others.

    `version` is that of its binary. `leader` is 0 when it knows none. `errors` holds alarms and "no leader".
    Sizes are in bytes. `storage_version` and `db_size_quota` are empty and 0 before etcd 3.6.
    """

    cluster_id: int
    member_id: int
    version: str
    leader: int
    raft_term: int
    raft_index: int
    raft_applied_index: int
    errors: tuple[str, ...]
    is_learner: bool
    db_size: int
    db_size_in_use: int
    storage_version: str
    db_size_quota: int


@dataclass(frozen=True, slots=True)
class ListedMember:
    """An entry of the member list. A member that never started has no name and no client URLs."""

    id: int
    name: str
    peer_urls: tuple[str, ...]
    client_urls: tuple[str, ...]
    is_learner: bool


@dataclass(frozen=True, slots=True)
class MemberList:
    """The members as one member sees them, in the server's order."""

    cluster_id: int
    members: tuple[ListedMember, ...]


@dataclass(frozen=True, slots=True)
class KeyValue:
    """A key and its value."""

    key: bytes
    value: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Hash:
    """The hash of all keys and revisions after `compact_revision` up to the one that was asked for."""

    value: int
    compact_revision: int


class EtcdClient:
    """A connection to one client URL of etcd, made when first used. Threads may share it.

    The server's certificate must be signed by the CA of `credentials` and valid for the host of the URL.
    `credentials` is None for `http` and only then.

    Reading calls raise `EtcdUnreachable`, or `EtcdRejected` for answers such as "not supported for learner".
    Mutating calls raise `EtcdRejected` or `EtcdUnreachable` when it is certain that nothing was done, else
    `EtcdOutcomeUnknown`.
    """

    def __init__(self, endpoint: str, credentials: Credentials | None, *, through: str = "") -> None:
        """Dial the URL itself, or the target `through` (gRPC's name of it) which leads there.

        Raise `EtcdUnreachable` for a URL that cannot be dialled with these credentials.
        """
        self.endpoint = endpoint
        target, secure = _target(endpoint)
        options: list[tuple[str, int | str]] = [*_OPTIONS]
        if through:
            # The certificate is checked under the URL's host all the same.
            target = through
            options.append(("grpc.default_authority", urlsplit(endpoint).netloc))
        if secure and credentials is None:
            raise EtcdUnreachable(endpoint, "at all", "it wants TLS and there are no credentials")
        if credentials is None:
            self._channel: Any = grpc.insecure_channel(target, options)
        elif not secure:
            raise EtcdUnreachable(endpoint, "at all", "it is plain HTTP, and TLS is demanded")
        else:
            tls = grpc.ssl_channel_credentials(
                root_certificates=credentials.ca_pem,
                private_key=credentials.key.reveal(),
                certificate_chain=credentials.certificate_pem,
            )
            self._channel = grpc.secure_channel(target, tls, options)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Drop the connection; calls under way in other threads fail. May be repeated."""
        self._channel.close()

    def status(self, *, timeout: float) -> Status:
        """Ask the member about itself; needs no quorum."""
        reply = self._read("Maintenance/Status", pb.StatusRequest(), pb.StatusReply, timeout)
        return Status(
            cluster_id=reply.header.cluster_id,
            member_id=reply.header.member_id,
            version=reply.version,
            leader=reply.leader,
            raft_term=reply.raft_term,
            raft_index=reply.raft_index,
            raft_applied_index=reply.raft_applied_index,
            errors=tuple(error.strip() for error in reply.errors),
            is_learner=reply.is_learner,
            db_size=reply.db_size,
            db_size_in_use=reply.db_size_in_use,
            storage_version=reply.storage_version,
            db_size_quota=reply.db_size_quota,
        )

    def members(self, *, timeout: float, linearizable: bool = True) -> MemberList:
        """List the members.

        `linearizable=False` is the member's own, possibly stale view, which needs no quorum. etcd 3.4 always
        gives that one: see `confirmed_members`.
        """
        request = pb.MemberListRequest(linearizable=linearizable)
        reply = self._read("Cluster/MemberList", request, pb.MembersReply, timeout)
        return MemberList(reply.header.cluster_id, tuple(_listed(member) for member in reply.members))

    def confirmed_members(self, *, timeout: float) -> MemberList:
        """List the members as of now on any version: a linearizable read, then the list, on one endpoint."""
        deadline = time.monotonic() + timeout
        self.linearizable_read(timeout=timeout)
        return self.members(timeout=deadline - time.monotonic())

    def linearizable_read(self, *, timeout: float) -> int:
        """Read a key (etcd's own health check's, "health") through quorum; return the store's revision."""
        request = pb.RangeRequest(key=b"health", count_only=True)
        return self._read("KV/Range", request, pb.RangeReply, timeout).header.revision

    def own_revision(self, *, timeout: float) -> int:
        """Return the revision of the member's own store; needs no quorum."""
        request = pb.RangeRequest(key=b"health", count_only=True, serializable=True)
        return self._read("KV/Range", request, pb.RangeReply, timeout).header.revision

    def count(self, revision: int = 0, *, timeout: float) -> int:
        """Count all keys that there were at a revision, 0 for now, as the member itself sees them."""
        request = pb.RangeRequest(
            key=b"\0", range_end=b"\0", revision=revision, serializable=True, count_only=True
        )
        return self._read("KV/Range", request, pb.RangeReply, timeout).count

    def sample(self, prefix: bytes, *, limit: int, timeout: float) -> Iterator[KeyValue]:
        """Yield the first keys with a prefix, as the member itself sees them, with their values.

        One at a time: an answer with many large ones would be more than gRPC takes.
        """
        first = prefix
        for _ in range(limit):
            request = pb.RangeRequest(key=first, range_end=_after(prefix), serializable=True, limit=1)
            reply = self._read("KV/Range", request, pb.RangeReply, timeout)
            if not reply.kvs:
                return
            yield KeyValue(reply.kvs[0].key, reply.kvs[0].value)
            first = reply.kvs[0].key + b"\0"

    def keys(self, prefix: bytes, *, timeout: float) -> Iterator[tuple[bytes, int]]:
        """Yield all keys with a prefix in order, with the revisions of their last change, as the member sees them.

        They are read in pages of bounded size: what is written meanwhile may or may not be among them.
        """
        first = prefix
        while True:
            request = pb.RangeRequest(
                key=first, range_end=_after(prefix), serializable=True, keys_only=True, limit=_PAGE
            )
            reply = self._read("KV/Range", request, pb.RangeReply, timeout)
            yield from ((one.key, one.mod_revision) for one in reply.kvs)
            if len(reply.kvs) < _PAGE:
                return
            first = reply.kvs[-1].key + b"\0"

    def hash_kv(self, revision: int, *, timeout: float) -> Hash:
        """Hash the member's keys as of a revision. The member holds its writes back while it reads them all."""
        request = pb.HashKvRequest(revision=revision)
        reply = self._read("Maintenance/HashKV", request, pb.HashKvReply, timeout)
        return Hash(reply.hash, reply.compact_revision)

    def snapshot(self, *, stall: float) -> Iterator[bytes]:
        """Yield the member's database in pieces, the last of them its SHA-256 (32 bytes).

        Raise `EtcdUnreachable` when no piece comes for `stall` seconds, or the connection ends.
        """
        invoke = self._channel.unary_stream(
            "/etcdserverpb.Maintenance/Snapshot",
            request_serializer=pb.SnapshotRequest.SerializeToString,
            response_deserializer=pb.SnapshotReply.FromString,
        )
        call = invoke(pb.SnapshotRequest(), wait_for_ready=False)
        try:
            # Received while the caller encrypts what came before.
            yield from (reply.blob for reply in taken_ahead(until_silent(call, stall), call.cancel))
        except grpc.RpcError as error:
            definite = self._definite(error, "Snapshot")
            raise definite or EtcdUnreachable(self.endpoint, "Snapshot", _detail(error)) from error
        finally:
            call.cancel()

    def member_add(self, peer_url: str, *, learner: bool, timeout: float) -> ListedMember:
        """Add a member, and return it with the ID that the server chose. Not idempotent."""
        request = pb.MemberAddRequest(peer_urls=[peer_url], is_learner=learner)
        reply = self._mutate("Cluster/MemberAdd", peer_url, request, pb.MemberAddReply, timeout)
        return _listed(reply.member)

    def member_remove(self, member_id: int, *, timeout: float) -> None:
        """Remove a member for good."""
        request = pb.MemberIdRequest(id=member_id)
        self._mutate("Cluster/MemberRemove", f"{member_id:x}", request, pb.MembersReply, timeout)

    def member_promote(self, member_id: int, *, timeout: float) -> None:
        """Make a learner a voter."""
        request = pb.MemberIdRequest(id=member_id)
        self._mutate("Cluster/MemberPromote", f"{member_id:x}", request, pb.MembersReply, timeout)

    def clear_corrupt(self, member_id: int, *, timeout: float) -> None:
        """Take back the CORRUPT alarm that was raised for a member, 0 for nobody in particular; there may be none."""
        request = pb.AlarmRequest(action=_DEACTIVATE, member_id=member_id, alarm=_CORRUPT)
        self._mutate("Maintenance/Alarm", f"{member_id:x}", request, pb.AlarmReply, timeout)

    def move_leader(self, target_id: int, *, timeout: float) -> None:
        """Hand leadership to a voter; only the leader's own endpoint accepts it."""
        request = pb.MoveLeaderRequest(target_id=target_id)
        self._mutate("Maintenance/MoveLeader", f"{target_id:x}", request, pb.MoveLeaderReply, timeout)

    def _read(self, method: str, request: Message, reply: type[_ReplyT], timeout: float) -> _ReplyT:
        call = method.partition("/")[2]
        try:
            return self._send(method, request, reply, timeout)
        except grpc.RpcError as error:
            definite = self._definite(error, call)
            raise definite or EtcdUnreachable(self.endpoint, call, _detail(error)) from error

    def _mutate(
        self, method: str, subject: str, request: Message, reply: type[_ReplyT], timeout: float
    ) -> _ReplyT:
        call = f"{method.partition('/')[2]} {subject}"
        try:
            return self._send(method, request, reply, timeout)
        except grpc.RpcError as error:
            definite = self._definite(error, call)
            raise definite or EtcdOutcomeUnknown(self.endpoint, call, _detail(error)) from error

    def _send(self, method: str, request: Message, reply: type[_ReplyT], timeout: float) -> _ReplyT:
        invoke: Callable[..., _ReplyT] = self._channel.unary_unary(
            f"/etcdserverpb.{method}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=reply.FromString,
        )
        return invoke(request, timeout=timeout, wait_for_ready=False)

    def _definite(self, error: Any, call: str) -> EtcdRejected | EtcdUnreachable | None:
        """Return the failure when it proves that nothing was done."""
        if error.code() is grpc.StatusCode.UNIMPLEMENTED:
            return EtcdRejected(self.endpoint, call, Reason.UNIMPLEMENTED)
        details: str = error.details() or ""
        if reason := _REASONS.get(details):
            return EtcdRejected(self.endpoint, call, reason)
        if details.startswith(_NEVER_SENT):
            return EtcdUnreachable(self.endpoint, call, _detail(error))
        return None


def _target(endpoint: str) -> tuple[str, bool]:
    """Return gRPC's name for the endpoint, and whether TLS is to be used."""
    try:
        url = urlsplit(endpoint)
        scheme, host, port = url.scheme, url.hostname, url.port
    except ValueError:
        scheme, host, port = "", None, None
    if scheme not in ("http", "https") or host is None or port is None:
        raise EtcdUnreachable(endpoint, "at all", "it is not a client URL such as https://10.0.0.1:2379")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return f"dns:///{host}:{port}", scheme == "https"
    quoted = host if address.version == 4 else f"[{host}]"
    return f"ipv{address.version}:{quoted}:{port}", scheme == "https"


def _after(prefix: bytes) -> bytes:
    """Return the first key behind all those with a prefix that does not end in 0xff."""
    return prefix[:-1] + bytes([prefix[-1] + 1])


def _listed(member: pb.Member) -> ListedMember:
    return ListedMember(
        id=member.id,
        name=member.name,
        peer_urls=tuple(member.peer_urls),
        client_urls=tuple(member.client_urls),
        is_learner=member.is_learner,
    )


def _detail(error: Any) -> str:
    if error.code() in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED):
        return "no answer in time"
    details: str = error.details() or error.code().name
    return details.rpartition("last error: ")[2].removeprefix("UNKNOWN: ").rstrip(".")
