from dataclasses import replace

import pytest

from etcdplan.pki.authority import Authority
from etcdplan.pki.secret import Secret
from etcdplan.transport.errors import EtcdUnreachable
from etcdplan.transport.etcd import EtcdClient
from etcdplan.transport.quiet_grpc import grpc
from tests.support import tls

from .fake_etcd import FakeEtcd


@pytest.fixture(scope="module")
def ca() -> Authority:
    return tls.authority()


@pytest.fixture(scope="module")
def other() -> Authority:
    return tls.authority("another CA")


def server(ca: Authority, *hosts: str, listen: str = "127.0.0.1") -> FakeEtcd:
    key, certificate = tls.leaf(ca, *hosts)
    pair = [(key.reveal(), certificate)]
    return FakeEtcd(
        host=listen,
        credentials=grpc.ssl_server_credentials(pair, ca.certificate_pem, require_client_auth=True),
    )


@pytest.mark.parametrize(
    ("listen", "dial", "san"),
    [
        ("127.0.0.1", "127.0.0.1", "127.0.0.1"),
        ("[::1]", "[::1]", "::1"),
        ("127.0.0.1", "localhost", "localhost"),
    ],
)
def test_address_and_name_are_verified(ca: Authority, listen: str, dial: str, san: str) -> None:
    with (
        server(ca, san, listen=listen) as etcd,
        EtcdClient(f"https://{dial}:{etcd.port}", tls.credentials(ca)) as client,
    ):
        client.status(timeout=5)
    with (
        server(ca, "127.0.0.9", "elsewhere", listen=listen) as etcd,
        EtcdClient(f"https://{dial}:{etcd.port}", tls.credentials(ca)) as client,
        pytest.raises(EtcdUnreachable, match="Hostname Verification"),
    ):
        client.status(timeout=5)


def test_another_ca_is_refused_by_either_side(ca: Authority, other: Authority) -> None:
    with server(ca, "127.0.0.1") as etcd:
        with (
            EtcdClient(etcd.url, tls.credentials(ca, trust=other)) as client,
            pytest.raises(EtcdUnreachable, match="CERTIFICATE_VERIFY_FAILED"),
        ):
            client.status(timeout=5)
        with EtcdClient(etcd.url, tls.credentials(other, trust=ca)) as client, pytest.raises(EtcdUnreachable):
            client.status(timeout=5)


def test_plain_and_tls_do_not_mix(ca: Authority) -> None:
    with pytest.raises(EtcdUnreachable, match="no credentials"):
        EtcdClient("https://127.0.0.1:1", None)
    with pytest.raises(EtcdUnreachable, match="plain HTTP"):
        EtcdClient("http://127.0.0.1:1", tls.credentials(ca))
    with (
        FakeEtcd() as etcd,
        EtcdClient(f"https://127.0.0.1:{etcd.port}", tls.credentials(ca)) as client,
        pytest.raises(EtcdUnreachable),
    ):
        client.status(timeout=5)


def test_credentials_show_no_key_in_errors_or_text(ca: Authority) -> None:
    good = tls.credentials(ca)
    assert good.key.reveal().decode() not in repr(good)
    broken = replace(good, key=Secret(b"not a key"))
    with (
        server(ca, "127.0.0.1") as etcd,
        EtcdClient(etcd.url, broken) as client,
        pytest.raises(EtcdUnreachable) as caught,
    ):
        client.status(timeout=5)
    assert "not a key" not in str(caught.value)
