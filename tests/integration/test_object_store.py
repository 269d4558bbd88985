"""Backups in a bucket of a real S3 server, beside a directory: what arrives, and every way in which it does not."""

import hashlib
import os
import resource
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import etcdplan.backup.object_store as object_store
from etcdplan.backup.catalogue import forget
from etcdplan.backup.errors import DestinationError
from etcdplan.backup.manifest import MANIFEST, SIGNATURE, SNAPSHOT, new_name
from etcdplan.backup.s3_store import S3Store
from etcdplan.backup.snapshot import Content
from etcdplan.cli.app import run
from tests.support.member import Bench as MemberBench
from tests.support.s3 import KEY, SECRET, S3Server, s3_server

pytestmark = pytest.mark.timeout(120)

URL = "s3://backups/prod/eu1"


class Bench(MemberBench):
    """The same with its S3 server."""

    def __init__(self, home: Path, server: S3Server) -> None:
        super().__init__(home, URL)
        self.server = server

    def unfinished(self, store: S3Store) -> int:
        return len(store._call("list_multipart_uploads").get("Uploads") or ())


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    with s3_server() as server:
        server.make_bucket("backups")
        for name, value in {
            "AWS_ENDPOINT_URL": server.url,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "HOME": str(tmp_path),
        }.items():
            monkeypatch.setenv(name, value)
        yield Bench(tmp_path, server)


def test_a_backup_goes_to_a_bucket_and_a_directory_and_comes_back(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    store = S3Store(URL)
    name = bench.take(bench.directory, store).manifest.name
    assert store.names() == bench.directory.names() == {name + MANIFEST, name + SIGNATURE, name + SNAPSHOT}
    assert bench.unfinished(store) == 0
    bench.comes_back(name, capsys)
    forget(store, name)
    assert not store.names()


def test_nothing_in_a_bucket_is_overwritten(bench: Bench) -> None:
    store = S3Store(URL)
    for size in (3, object_store.PART + 3):
        store.write(f"file{size}", b"a" * size)
        with pytest.raises(DestinationError, match="could not be given"):
            store.write(f"file{size}", b"b" * size)
        assert store.content(f"file{size}") == Content(size, hashlib.sha256(b"a" * size).hexdigest())
    assert bench.unfinished(store) == 0


def test_an_upload_that_is_given_up_leaves_nothing(bench: Bench) -> None:
    store = S3Store(URL)
    old = bench.take(store).manifest.name

    def interrupted() -> None:
        assert bench.unfinished(store) == 1
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bench.take(store, midway=interrupted)
    assert bench.unfinished(store) == 0
    assert {one.split(".")[0] for one in store.names()} == {old}


def test_a_store_that_ends_half_way_is_named_and_the_directory_has_the_backup(bench: Bench) -> None:
    store = S3Store(URL)
    taken = bench.take(bench.directory, store, midway=bench.server.stop)
    assert taken.destinations == (str(bench.directory),)
    assert [URL in one.message for one in taken.failures] == [True]
    assert bench.counting(bench.directory) == [taken.manifest.name]


def test_a_directory_that_fills_up_is_named_and_the_bucket_has_the_backup(bench: Bench) -> None:
    store = S3Store(URL)
    old = bench.take(bench.directory).manifest.name
    before = bench.directory.names()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5 << 20, limits[1]))  # The server's limit is its own.
    try:
        taken = bench.take(bench.directory, store)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert taken.destinations == (URL,) and str(bench.directory) in taken.failures[0].message
    assert {one.name for one in bench.directory.path.iterdir()} == before
    assert bench.counting(bench.directory) == [old]
    assert bench.counting(store) == [taken.manifest.name]


def test_what_a_killed_run_left_is_listed_and_removed_when_it_is_certainly_dead(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.take(bench.directory)
    stem = f".{new_name(bench.cluster, bench.now, '0' * 8)}"
    dead, living, foreign = (
        bench.directory.path / name
        for name in (f"{stem}.snapshot.age.part", f"{stem}.json.part", ".holiday.jpg.part")
    )
    for path in (dead, living, foreign):
        path.write_bytes(b"half")
    for path in (dead, foreign):
        os.utime(path, (time.time() - 90_000,) * 2)
    assert run(["backup", "list", str(bench.spec)]) == 0
    said = capsys.readouterr().out
    assert f"{dead.name[1:]} was left over" in said and said.count("left over") == 1
    bench.take(bench.directory)
    assert not dead.exists() and living.exists() and foreign.exists()


@pytest.mark.parametrize("lie", [lambda data: data[:-1], lambda data: data[:-1] + bytes([data[-1] ^ 1])])
def test_what_a_store_gives_back_otherwise_does_not_count(bench: Bench, lie: Any) -> None:
    class Lying(S3Store):
        def content(self, name: str) -> Content:
            if name.endswith(SNAPSHOT):
                with self.reader(name) as file:
                    data = b"".join(iter(lambda: file.read(1 << 20), b""))
                self._call("put_object", Key=self._prefix + name, Body=lie(data))
            return super().content(name)

    store = Lying(URL)
    taken = bench.take(bench.directory, store)
    assert "does not give back what was written" in taken.failures[0].message
    assert bench.counting(store) == []
    assert bench.counting(bench.directory) == [taken.manifest.name]


def test_what_a_store_refuses_is_said_without_a_secret(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def said(url: str) -> str:
        store = S3Store(url)
        with pytest.raises(DestinationError) as listed:
            store.names()
        with pytest.raises(DestinationError) as taken:
            bench.take(store)
        words = f"{listed.value} {taken.value} {taken.value.hint}"
        assert SECRET not in words and words.count(url) == 2
        return words

    assert "bucket does not exist" in said("s3://elsewhere/prod")
    bench.server.deny()
    assert "does not exist in our records" in said(URL)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert "credentials" in said(URL)


def test_a_store_that_gives_a_byte_a_second_is_given_up(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = threading.Event()

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" * 100:
                connection.sendall(bytes([byte]))
                if ended.wait(0.2):
                    return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{listener.getsockname()[1]}")
        monkeypatch.setattr(object_store, "STALL", 2.0)
        try:
            with pytest.raises(DestinationError, match="makes no progress"):
                S3Store(URL).names()
        finally:
            ended.set()
            thread.join(30)


def test_a_driver_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(DestinationError) as said:
        S3Store(URL)
    assert said.value.hint == "pip install 'etcdplan[s3]'"


def test_the_driver_is_not_loaded_for_a_directory() -> None:
    import subprocess

    names = "etcdplan.cli.backup, etcdplan.backup.s3_store, etcdplan.backup.places"
    code = f"import sys, {names}; sys.exit('fsspec' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0
