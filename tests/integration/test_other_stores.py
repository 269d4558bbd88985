"""Backups in GCS and Azure, on servers that speak as these do: what arrives, what is refused, what is left behind."""

import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

import etcdplan.backup.object_store as object_store
from etcdplan.backup.azure_store import AzureStore
from etcdplan.backup.catalogue import forget
from etcdplan.backup.errors import DestinationError
from etcdplan.backup.gcs_store import GcsStore
from etcdplan.backup.manifest import MANIFEST, SIGNATURE, SNAPSHOT
from etcdplan.backup.object_store import ObjectStore
from etcdplan.backup.places import open_place
from etcdplan.backup.snapshot import Content
from tests.support.member import Bench
from tests.support.stores import KEY, StoreServer, azure_server, connection_string, gcs_server

pytestmark = [
    pytest.mark.host,
    pytest.mark.timeout(300),
    # Azure's client gives its HTTP client bytes, which warns of that.
    pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning"),
]


@dataclass
class Place:
    """A store, its server, and what ends or spoils its credentials."""

    url: str
    server: StoreServer
    expire: Any
    refused: str

    def store(self) -> ObjectStore:
        made = open_place(self.url, Path())
        assert isinstance(made, ObjectStore)
        return made


@contextmanager
def tokens(home: Path) -> Iterator[Any]:
    """Whom a service account's key is shown to; gives what makes it refuse the key."""
    refused = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            said: dict[str, object] = {"access_token": "a-token", "expires_in": 3600, "token_type": "Bearer"}
            if refused.is_set():
                said = {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}
            body = json.dumps(said).encode()
            self.send_response(400 if refused.is_set() else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        key = rsa.generate_private_key(65537, 2048).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (home / "account.json").write_text(
            json.dumps(
                {
                    "type": "service_account",
                    "project_id": "p",
                    "private_key_id": "k",
                    "private_key": key.decode(),
                    "client_email": "backup@p.invalid",
                    "token_uri": f"http://127.0.0.1:{server.server_port}/token",
                }
            )
        )
        try:
            yield refused.set
        finally:
            server.shutdown()
            thread.join(30)


@contextmanager
def gcs(home: Path, environment: pytest.MonkeyPatch) -> Iterator[Place]:
    with gcs_server("backups") as server, tokens(home) as expire:
        environment.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{server.port}")
        environment.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(home / "account.json"))
        yield Place("gs://backups/prod/eu1", server, expire, "Invalid Credentials")


@contextmanager
def azure(home: Path, environment: pytest.MonkeyPatch) -> Iterator[Place]:
    with azure_server("backups") as server:
        words = connection_string(server)
        environment.setenv("AZURE_STORAGE_CONNECTION_STRING", words)
        spoilt = words.replace(KEY, KEY.swapcase())
        yield Place(
            "az://backups/prod/eu1",
            server,
            lambda: environment.setenv("AZURE_STORAGE_CONNECTION_STRING", spoilt),
            "failed to authenticate",
        )


@pytest.fixture(params=[gcs, azure], ids=["gcs", "azure"])
def where(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    with request.param(tmp_path, monkeypatch) as made:
        yield made


@pytest.fixture
def bench(tmp_path: Path, where: Place) -> Bench:
    return Bench(tmp_path, where.url)


def test_a_backup_goes_there_comes_back_and_goes(
    bench: Bench, where: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    store = where.store()
    assert store.names() == frozenset()
    taken = bench.take(bench.directory, store)
    assert not taken.failures
    name = taken.manifest.name
    assert store.names() == bench.directory.names() == {name + MANIFEST, name + SIGNATURE, name + SNAPSHOT}
    bench.comes_back(name, capsys)
    forget(store, name)
    assert not store.names()
    forget(store, name)  # What is gone is gone.


def test_nothing_is_overwritten(where: Place) -> None:
    store = where.store()
    for size in (3, object_store.PART + 3):
        store.write(f"file{size}", b"a" * size)
        with pytest.raises(DestinationError, match="could not be given"):
            store.write(f"file{size}", b"b" * size)
        assert store.content(f"file{size}") == Content(size, hashlib.sha256(b"a" * size).hexdigest())


def test_two_that_write_one_name_at_once_do_not_both_have_it(where: Place) -> None:
    first, second = where.store().upload("one"), where.store().upload("one")
    for upload, data in ((first, b"a" * 20), (second, b"b" * 20)):
        upload.write(data)
    first.finish()
    with second, pytest.raises(DestinationError):
        second.finish()
    second.give_up()
    assert where.store().read("one", limit=99) == b"a" * 20


def test_an_upload_that_is_given_up_leaves_nothing_to_be_seen(bench: Bench, where: Place) -> None:
    store = where.store()
    old = bench.take(store).manifest.name

    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bench.take(store, midway=interrupted)
    assert {one.split(".")[0] for one in where.store().names()} == {old}
    assert bench.counting(store) == [old]


def test_a_store_that_ends_half_way_is_named_and_the_directory_has_the_backup(
    bench: Bench, where: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_store, "STALL", 5.0)  # The drivers try again for a while.
    taken = bench.take(bench.directory, where.store(), midway=where.server.stop)
    assert taken.destinations == (str(bench.directory),)
    assert [where.url in one.message for one in taken.failures] == [True]
    assert bench.counting(bench.directory) == [taken.manifest.name]


def test_expired_credentials_and_a_missing_bucket_are_named_without_a_secret(
    bench: Bench, where: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_store, "STALL", 30.0)
    old = bench.take(bench.directory, where.store()).manifest.name

    def said(url: str) -> str:
        store = open_place(url, Path())
        with pytest.raises(DestinationError) as listed:
            store.names()
        taken = bench.take(bench.directory, store)
        assert taken.destinations == (str(bench.directory),)
        words = f"{listed.value.message} {listed.value.hint} {taken.failures[0].message}"
        assert words.count(url) == 2 and "\n" not in words
        for secret in (KEY, KEY.swapcase(), "PRIVATE KEY", "a-token"):
            assert secret not in words
        return words

    assert "progress" not in said(where.url.replace("backups", "elsewhere"))
    where.expire()
    assert where.refused in said(where.url)
    assert old in bench.counting(bench.directory)


@pytest.mark.parametrize("kind", [GcsStore, AzureStore])
def test_a_driver_that_is_not_installed_is_named(
    kind: type[ObjectStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    with suppress(KeyError):
        monkeypatch.delitem(sys.modules, kind.module)
    monkeypatch.setitem(sys.modules, kind.module.partition(".")[0], None)
    with pytest.raises(DestinationError) as missing:
        kind("xx://bucket")
    assert missing.value.hint == f"pip install 'etcdplan[{kind.extra}]'"
