"""Backups on a server that offers SFTP alone: a real sshd, and every way in which it does not do its part."""

import os
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

import etcdplan.backup.sftp_store as sftp_store
from etcdplan.backup.catalogue import forget
from etcdplan.backup.errors import DestinationError
from etcdplan.backup.manifest import MANIFEST, SIGNATURE, SNAPSHOT, new_name
from etcdplan.backup.sftp_store import SftpStore
from etcdplan.backup.snapshot import Content
from tests.support.member import PIECES, Bench
from tests.support.sshd import Runner, Sshd

pytestmark = pytest.mark.timeout(120)
PROGRAM = "/usr/lib/openssh/sftp-server"
only_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="sshd changes its root, and file systems are mounted"
)


class Server:
    """An sshd, and the directory `root` that it shows as `/` or as it is."""

    def __init__(self, home: Path, root: Path, extra: str, *, chrooted: bool) -> None:
        self.root = root
        self.sshd = Sshd(home / "sshd", extra=extra).start()
        self.runner = Runner(home / "runner")
        self.runner.host("backup", self.sshd)
        self.runner.trust(self.sshd.known())
        self.files = root / "srv" / "prod"
        self.url = f"sftp://backup{'' if chrooted else root}/srv/prod"

    def store(self) -> SftpStore:
        return SftpStore(self.url, self.runner.settings())


@contextmanager
def plain(home: Path, extra: str = "") -> Iterator[Server]:
    (home / "there").mkdir()
    server = Server(home, home / "there", extra or f"Subsystem sftp {PROGRAM}", chrooted=False)
    try:
        yield server
    finally:
        server.sshd.stop()


@contextmanager
def chrooted(home: Path) -> Iterator[Server]:
    """As operators set such a server up: no shell, no forwarding, and the user sees only this."""
    root = Path(
        tempfile.mkdtemp(dir="/var/lib", prefix="etcdplan-test-")
    )  # All above it must be root's alone.
    root.chmod(0o755)
    extra = (
        f"Subsystem sftp internal-sftp\nForceCommand internal-sftp\nChrootDirectory {root}\n"
        "DisableForwarding yes\nPermitTTY no\n"
    )
    server = Server(home, root, extra, chrooted=True)
    try:
        yield server
    finally:
        server.sshd.stop()
        shutil.rmtree(root)


@pytest.fixture(params=[plain, pytest.param(chrooted, marks=only_root)], ids=["sftp-server", "chrooted"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    with request.param(tmp_path) as made:
        yield made


@pytest.fixture
def bench(tmp_path: Path, server: Server) -> Bench:
    return Bench(tmp_path, server.url)


def test_a_backup_goes_there_comes_back_and_goes(
    bench: Bench, server: Server, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = server.store()
    assert store.names() == frozenset()  # Nor is there a directory yet.
    taken = bench.take(bench.directory, store)
    assert not taken.failures
    name = taken.manifest.name
    assert store.names() == {name + MANIFEST, name + SIGNATURE, name + SNAPSHOT}
    assert {path.name for path in server.files.iterdir()} == store.names()
    for path in (server.files, *server.files.iterdir()):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)
    server.runner.settings()
    monkeypatch.setenv("ETCDPLAN_SSH_CONFIG", str(server.runner.directory / "config"))
    bench.comes_back(name, capsys)
    forget(store, name)
    assert not store.names() and not list(server.files.iterdir())
    forget(store, name)


def test_nothing_is_overwritten_and_nothing_half_written_is_left(server: Server) -> None:
    store = server.store()
    store.write("file", b"a" * 100_000)
    with pytest.raises(DestinationError, match="there is one already"):
        store.write("file", b"b")
    # Not even when it comes between the look and the rename, which the server refuses.
    upload = server.store().upload("other")
    upload.write(b"b")
    session = upload._session  # type: ignore[attr-defined]
    looked = session.attributes
    session.attributes = lambda path: None
    (server.files / "other").write_bytes(b"mine")
    with upload, pytest.raises(DestinationError, match="could not be given other"):
        upload.finish()
    session.attributes = looked
    upload.give_up()
    assert (server.files / "other").read_bytes() == b"mine"
    assert store.content("file").size == 100_000
    assert {path.name for path in server.files.iterdir()} == {"file", "other"}


def test_what_is_no_regular_file_is_not_read(server: Server) -> None:
    store = server.store()
    store.write("file", b"x")
    (server.files / "directory").mkdir()
    for name in ("directory", "nothing"):
        with pytest.raises(DestinationError, match=f"could not be asked for {name}"):
            store.content(name)
    assert store.content("file") == Content(
        1, "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
    )


def test_an_upload_that_is_given_up_leaves_nothing(bench: Bench, server: Server) -> None:
    store = server.store()
    old = bench.take(store).manifest.name

    def interrupted() -> None:
        assert [path for path in server.files.iterdir() if path.name.startswith(".")]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bench.take(store, midway=interrupted)
    assert {path.name.split(".")[0] for path in server.files.iterdir()} == {old}
    assert bench.counting(store) == [old]


def test_a_session_that_ends_half_way_is_named_and_its_file_removed_in_a_new_one(
    bench: Bench, server: Server
) -> None:
    store = server.store()
    old = bench.take(store).manifest.name

    def cut() -> None:
        for pid in server.sshd.sessions():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    taken = bench.take(bench.directory, store, midway=cut)
    assert taken.destinations == (str(bench.directory),)
    assert [server.url in one.message for one in taken.failures] == [True]
    assert {path.name.split(".")[0] for path in server.files.iterdir()} == {old}


def test_a_server_that_ends_half_way_is_named_and_the_directory_has_the_backup(
    bench: Bench, server: Server
) -> None:
    taken = bench.take(bench.directory, server.store(), midway=server.sshd.stop)
    assert taken.destinations == (str(bench.directory),)
    assert [server.url in one.message for one in taken.failures] == [True]
    assert bench.counting(bench.directory) == [taken.manifest.name]


def test_a_server_that_hangs_is_given_up(
    bench: Bench, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sftp_store, "STALL", 2.0)
    stopped: list[int] = []

    def hang() -> None:
        for pid in server.sshd.sessions():
            os.kill(pid, signal.SIGSTOP)
            stopped.append(pid)

    began = time.monotonic()
    try:
        taken = bench.take(bench.directory, server.store(), midway=hang)
    finally:
        for pid in stopped:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
    assert stopped and taken.destinations == (str(bench.directory),)
    assert "no progress" in taken.failures[0].message
    assert time.monotonic() - began < 60


def test_what_a_killed_run_left_is_listed_and_removed_when_it_is_certainly_dead(
    bench: Bench, server: Server
) -> None:
    store = server.store()
    bench.take(store)
    stem = f".{new_name(bench.cluster, bench.now, '0' * 8)}"
    dead, living, foreign = (
        server.files / name
        for name in (f"{stem}.snapshot.age.part", f"{stem}.json.part", ".holiday.jpg.part")
    )
    for path in (dead, living, foreign):
        path.write_bytes(b"half")
    for path in (dead, foreign):
        os.utime(path, (time.time() - 90_000,) * 2)
    assert store.left_over() == {dead.name[1:]}
    bench.take(store)
    assert not dead.exists() and living.exists() and foreign.exists()


@only_root
def test_a_full_disk_there_is_named_and_the_older_backup_is_untouched(tmp_path: Path) -> None:
    with plain(tmp_path) as server:
        mount = ["mount", "-t", "tmpfs", "-o", f"size={PIECES * 3 // 2}m", "tmpfs", str(server.root)]
        subprocess.run(mount, check=True, timeout=30)
        try:
            bench, store = Bench(tmp_path, server.url), server.store()
            old = bench.take(store).manifest.name
            before = {path.name for path in server.files.iterdir()}
            taken = bench.take(bench.directory, store)
            assert taken.destinations == (str(bench.directory),)
            assert f"{server.url} could not be given" in taken.failures[0].message
            assert {path.name for path in server.files.iterdir()} == before
            assert bench.counting(store) == [old]
        finally:
            server.sshd.stop()
            subprocess.run(["umount", str(server.root)], check=True, timeout=30)


@pytest.mark.parametrize(
    ("extra", "what"),
    [
        (f"Subsystem sftp {PROGRAM} -R", "ermission denied"),
        ("", "offers no SFTP"),
        ("Subsystem sftp /bin/false", "broke off"),
        ("Subsystem sftp /bin/cat", "no SFTP server sends|does not speak version 3"),
    ],
    ids=["read-only", "no SFTP", "a subsystem that fails", "a subsystem that echoes"],
)
def test_what_a_server_does_not_do_is_named(tmp_path: Path, extra: str, what: str) -> None:
    with plain(tmp_path, extra or "#") as server:
        bench = Bench(tmp_path, server.url)
        taken = bench.take(bench.directory, server.store())
        assert taken.destinations == (str(bench.directory),)
        assert any(one in taken.failures[0].message for one in what.split("|")), taken.failures[0].message


def _nobody(server: Server) -> None:
    server.runner.known_hosts.write_text("")


def _another(server: Server) -> None:
    words = server.runner.known_hosts.read_text().split()
    other = Path(f"{server.sshd.user_key}.pub").read_text().split()[1]
    server.runner.known_hosts.write_text(f"{words[0]} {words[1]} {other}\n")


@pytest.mark.parametrize("known", [_nobody, _another], ids=["unknown", "changed"])
def test_a_host_key_that_is_not_known_is_refused_and_never_added(
    tmp_path: Path, known: Callable[[Server], None]
) -> None:
    with plain(tmp_path) as server:
        known(server)
        before = server.runner.known_hosts.read_text()
        bench = Bench(tmp_path, server.url)
        taken = bench.take(bench.directory, server.store())
        assert taken.destinations == (str(bench.directory),)
        assert "key" in taken.failures[0].message
        assert server.runner.known_hosts.read_text() == before
        assert "Accepted" not in (tmp_path / "sshd" / "log").read_text()
