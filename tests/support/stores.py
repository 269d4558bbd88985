"""Servers that speak GCS and Azure Blob Storage, on loopback, in processes of their own.

The first is fake-gcs-server, built once from the Go module proxy; the second Azurite, Microsoft's own, from npm. Both
are pinned with hashes beside this file and kept in the user's cache.
"""

import base64
import http.client
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from etcdplan.lab.cached_build import Build, CacheEntry, cache_dir
from etcdplan.lab.go_build import go_build

HERE = Path(__file__).parent
ACCOUNT, KEY = "anaccount", base64.b64encode(b"a key that nobody prints").decode()


def gcs_program() -> Path:
    """Return the server's program; build it if need be (about a minute, once)."""
    recipe = HERE / "gcs_server"

    def problem(directory: Path) -> str:
        return "" if (directory / "gcs-server").is_file() else "it is not there"

    def build(build: Build) -> None:
        go_build(build, recipe=recipe, packages=["."])

    place = cache_dir() / "tests" / "gcs-server-1.56.1"
    entry = CacheEntry(place, "gcs-server", problem, "nothing else will do", print)
    return entry.built_by(build) / "gcs-server"


def azurite_program() -> list[str]:
    """Return the words that run Azurite; install it if need be. Where there is no npm, CI fails and others skip."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        if os.environ.get("CI"):
            pytest.fail("Azurite needs node and npm, and CI must run it")
        pytest.skip("Azurite needs node and npm")
    script = Path("node_modules/azurite/dist/src/blob/main.js")

    def problem(directory: Path) -> str:
        return "" if (directory / script).is_file() else "it is not there"

    def build(build: Build) -> None:
        for file in (HERE / "azure_server").iterdir():
            shutil.copyfile(file, build.output / file.name)
        words = [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--omit=dev"]
        build.run(words, cwd=build.output, env=dict(os.environ))

    place = cache_dir() / "tests" / "azurite-3.37.0"
    entry = CacheEntry(place, "Azurite", problem, "nothing else will do", print)
    return [node, str(entry.built_by(build) / script)]


class StoreServer:
    """One that listens on `port` once it is made; `stop` may be called at any time."""

    def __init__(self, command: Sequence[str | Path], port: int, environment: dict[str, str]) -> None:
        self.port = port
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **environment},
        )
        deadline = time.monotonic() + 60
        while True:
            with suppress(OSError):
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise AssertionError(f"{command[0]} does not come up")
            time.sleep(0.05)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait(30)

    def ask(self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, headers or {})
            return connection.getresponse().status
        finally:
            connection.close()


def free_port() -> int:
    """Return one that nothing listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@contextmanager
def gcs_server(bucket: str) -> Iterator[StoreServer]:
    """A GCS with one bucket."""
    port = free_port()
    server = StoreServer([gcs_program(), str(port)], port, {})
    try:
        body = f'{{"name": "{bucket}"}}'.encode()
        assert server.ask("POST", "/storage/v1/b", body, {"Content-Type": "application/json"}) == 200
        yield server
    finally:
        server.stop()


@contextmanager
def azure_server(container: str) -> Iterator[StoreServer]:
    """An Azure Blob Storage with one container."""
    port = free_port()
    words = [*azurite_program(), "--inMemoryPersistence", "--blobHost", "127.0.0.1", "--blobPort", str(port)]
    server = StoreServer(
        [*words, "--silent", "--skipApiVersionCheck", "--disableTelemetry"],
        port,
        {"AZURITE_ACCOUNTS": f"{ACCOUNT}:{KEY}"},
    )
    try:
        from azure.storage.blob import BlobServiceClient

        with BlobServiceClient.from_connection_string(connection_string(server)) as service:
            service.create_container(container).close()
        yield server
    finally:
        server.stop()


def connection_string(server: StoreServer) -> str:
    """Return what the environment says of the account."""
    return (
        f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};"
        f"BlobEndpoint=http://127.0.0.1:{server.port}/{ACCOUNT};"
    )
