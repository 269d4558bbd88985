"""A server that speaks S3, on loopback, in a process of its own."""

import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

KEY, SECRET = "a-key", "a-secret-that-nobody-prints"


class S3Server:
    """moto's; it takes any credentials until `deny`."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port: int = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self._port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET},
        )
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", self._port), timeout=1).close()
                return
            except OSError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self.stop()
                    raise
                time.sleep(0.05)

    def make_bucket(self, name: str) -> None:
        self._ask(f"/{name}", "PUT", b"")

    def deny(self) -> None:
        """From now on, know no credentials."""
        self._ask("/moto-api/reset-auth", "POST", b"0")

    def _ask(self, path: str, method: str, data: bytes) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        try:
            connection.request(method, path, data)
            assert connection.getresponse().status == 200
        finally:
            connection.close()

    def stop(self) -> None:
        self._process.kill()
        self._process.wait(30)


@contextmanager
def s3_server() -> Iterator[S3Server]:
    server = S3Server()
    try:
        yield server
    finally:
        server.stop()
