"""A server that speaks S3, on loopback, in a process of its own."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.stores import StoreServer, free_port

KEY, SECRET = "a-key", "a-secret-that-nobody-prints"


class S3Server(StoreServer):
    """moto's; it takes any credentials until `deny`."""

    def __init__(self) -> None:
        port = free_port()
        words = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        super().__init__(words, port, {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET})
        self.url = f"http://127.0.0.1:{port}"

    def make_bucket(self, name: str) -> None:
        assert self.ask("PUT", f"/{name}") == 200

    def deny(self) -> None:
        """From now on, know no credentials."""
        assert self.ask("POST", "/moto-api/reset-auth", b"0") == 200


@contextmanager
def s3_server() -> Iterator[S3Server]:
    server = S3Server()
    try:
        yield server
    finally:
        server.stop()
