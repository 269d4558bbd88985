"""What an API server's answers on `/readyz` mean."""

import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from etcdplan.hosts.readyz import is_ready
from etcdplan.pki.keyfile import write_key
from tests.support import tls


class Answers(BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        assert self.path == "/readyz"
        self.send_response(type(self).status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[HTTPServer]:
    key, certificate = tls.leaf(tls.authority(), "127.0.0.1")
    write_key(tmp_path / "key", key)
    (tmp_path / "crt").write_bytes(certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "crt", tmp_path / "key")
    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join(10)


@pytest.mark.parametrize(("status", "ready"), [(200, True), (401, True), (403, False), (500, False)])
def test_what_counts_as_ready(server: HTTPServer, status: int, ready: bool) -> None:
    Answers.status = status
    assert is_ready("127.0.0.1", server.server_port, timeout=5) == ready


def test_nobody_there() -> None:
    assert not is_ready("127.0.0.1", 1, timeout=1)
