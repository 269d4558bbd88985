"""Looking at a systemd host: in one request, without a trace, and never taking unknown for absent."""

import contextlib
import getpass
import os
import re
import shutil
import socket
import ssl
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from etcdplan.hosts.ports import HostUnreachable
from etcdplan.hosts.remote.host import RemoteHost
from etcdplan.hosts.remote.layout import Layout
from etcdplan.hosts.shell import Completed
from etcdplan.model.state import Data
from tests.unit.hosts.remote.conftest import SETTINGS, Bench
from tests.unit.hosts.remote.units import DEBIAN
from tests.unit.hosts.test_data_dir import segment

UNIT = "etc/systemd/system/etcd.service"


def test_an_empty_host(bench: Bench) -> None:
    report = bench.host.inspect(timeout=10)
    facts = (report.etcd.settings, report.etcd.process, report.data, report.trust, report.record)
    assert [fact.get() for fact in facts] == [None] * 5
    assert (report.leafs, report.api_servers) == ({}, {})
    assert report.free_bytes is not None and report.free_bytes > 0
    machine = report.machine
    assert machine.clock_ahead.get() == 0
    assert machine.memory.get() == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert (machine.processors.get() or 0) > 0
    volume, usage = machine.data.get(), shutil.disk_usage(bench.root)
    assert volume is not None
    assert (volume.directory, volume.size) == ("/var/lib/etcd", usage.total)
    assert volume.free == report.free_bytes
    assert volume.file_system
    assert machine.log.get() is None
    assert machine.listening.is_unknown
    assert report.boot_id == Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def test_looking_changes_nothing_and_is_one_request(bench: Bench) -> None:
    bench.file("lib/systemd/system/etcd.service", DEBIAN)
    bench.file("etc/default/etcd", "ETCD_DATA_DIR=/srv/etcd\nETCD_WAL_DIR=/wal/etcd\n")
    bench.file("var/lib/etcdplan/record.json", "{}")
    (bench.root / "srv/etcd/member").mkdir(parents=True)
    before, requests = bench.snapshot(), len(bench.shell.verbs)
    report = bench.host.inspect(timeout=10)
    assert report.data.get() is None
    assert bench.snapshot() == before
    assert bench.shell.verbs[requests:] == ["inspect"]
    assert bench.log() == []


def test_a_start_is_told_on_the_controllers_clock(bench: Bench) -> None:
    effects = bench.host.effects
    effects.write_settings(bench.claim(), "etcd", SETTINGS)
    effects.start(bench.claim(), "etcd")
    process = bench.etcd().process.get()
    assert process is not None
    assert abs(process.started - time.time()) < 5


@pytest.mark.parametrize(
    ("text", "wal"),
    [
        ("ETCD_DATA_DIR=/srv/a\n", "srv/a/member/wal"),
        ("ETCD_DATA_DIR='/srv/a'\nETCD_WAL_DIR=\"/srv/b c\"\n", "srv/b c"),
        ('DAEMON_ARGS="--wal-dir=/srv/w --snapshot-count=7"\nETCD_DATA_DIR=/srv/a\n', "srv/w"),
        ("ETCD_CONFIG_FILE=/etc/etcd.yml\n", "srv/y/member/wal"),
        ("ETCD_CONFIG_FILE=/etc/etcd.yml\nETCD_DATA_DIR=/srv/decoy\n", "srv/y/member/wal"),
        ("ETCD_DATA_DIR=/srv/a\\\nb\n", "srv/ab/member/wal"),
    ],
)
def test_data_is_looked_for_where_etcd_would(bench: Bench, text: str, wal: str) -> None:
    bench.file("lib/systemd/system/etcd.service", DEBIAN.replace("DAEMON_ARGS=\n", "DAEMON_ARGS=\n"))
    bench.file("etc/default/etcd", text)
    bench.file("etc/etcd.yml", "name: a\ndata-dir: '/srv/y'\n")
    log = bench.root / wal / "0000000000000000-0000000000000000.wal"
    log.parent.mkdir(parents=True)
    log.write_bytes(segment(0xC, 0xA))
    assert bench.host.inspect(timeout=10).data.get() == Data(0xC, 0xA)


def test_damaged_and_foreign_data(bench: Bench) -> None:
    place = bench.root / "var/lib/etcd"
    bench.file("var/lib/etcd/member/wal/1.wal", "\0" * 5000)
    found = bench.host.inspect(timeout=10).data.get()
    assert found is not None and found.foreign == "a damaged write-ahead log in /var/lib/etcd/member/wal"
    (place / "member/wal/0.wal").write_bytes(segment(1, 2))
    assert bench.host.inspect(timeout=10).data.get() == Data(1, 2)
    for path in place.glob("member/wal/*"):
        path.unlink()
    bench.file("var/lib/etcd/pgdata", "")
    bench.file("var/lib/etcd/grün x", "")
    found = bench.host.inspect(timeout=10).data.get()
    assert found is not None and found.foreign == "grün x, pgdata in /var/lib/etcd"


def test_a_directory_that_is_none_is_unknown(bench: Bench) -> None:
    bench.file("var/lib/etcd", "")
    fact = bench.host.inspect(timeout=10).data
    assert fact.is_unknown
    assert "not a directory" in (fact.why or "")


@pytest.mark.parametrize("path", ["etc/default/etcd", "lib/systemd/system/etcd.service.d/x.conf", UNIT])
def test_what_cannot_be_read_is_unknown(bench: Bench, path: str) -> None:
    bench.file("lib/systemd/system/etcd.service", DEBIAN)
    (bench.root / path).mkdir(parents=True)
    etcd = bench.host.inspect(timeout=10)
    assert etcd.etcd.settings.is_unknown, etcd.etcd
    assert etcd.data.is_unknown


@pytest.mark.parametrize("content", [b"ETCD_NAME=\xff\n", b"A='\n", b"x" * 300_000])
def test_what_makes_no_sense_is_unknown(bench: Bench, content: bytes) -> None:
    bench.file("lib/systemd/system/etcd.service", DEBIAN)
    bench.file("etc/default/etcd", "").write_bytes(content)
    assert bench.etcd().settings.is_unknown


def test_an_etcd_that_nobody_here_has_started(bench: Bench) -> None:
    bench.host.effects.write_settings(bench.claim(), "etcd", SETTINGS)
    place = bench.root / "proc/4242"
    place.mkdir()
    (place / "stat").write_text("4242 (etcd) S " + " ".join(["0"] * 48) + "\n")
    (place / "cmdline").write_bytes(b"etcd\0--data-dir=/other\0")
    assert bench.etcd().process.get() is None
    for argv in (b"etcd\0--data-dir=/var/lib/etcd\0", b"etcd\0"):
        (place / "cmdline").write_bytes(argv)
        fact = bench.etcd().process
        assert fact.is_unknown
        assert "process 4242" in (fact.why or "")


def test_an_etcd_that_came_during_the_look_is_looked_at_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The unit may have started it after systemd was asked: a host that boots is not a riddle."""
    bench.host.effects.write_settings(bench.claim(), "etcd", SETTINGS)
    place = bench.root / "proc/4242"
    place.mkdir()
    (place / "stat").write_text("4242 (etcd) S " + " ".join(["0"] * 18 + [f"{10**12}"] + ["0"] * 29) + "\n")
    (place / "cmdline").write_bytes(b"etcd\0")
    run, looks = bench.shell.run, []

    def once(*args: Any, **kwargs: Any) -> Completed:
        looks.append(run(*args, **kwargs))
        shutil.rmtree(place, ignore_errors=True)
        return looks[-1]

    monkeypatch.setattr(bench.shell, "run", once)
    assert bench.etcd().process.get() is None
    assert len(looks) == 2


def test_a_changed_configuration_file_is_not_what_runs(bench: Bench) -> None:
    start = "ExecStart=/usr/local/bin/etcd --config-file=/etc/etcd.yml"
    bench.file(UNIT, f"[Service]\nUser={getpass.getuser()}\n{start}\n")
    config = bench.file("etc/etcd.yml", "name: a\n")
    os.utime(config, (1, 1))
    bench.host.effects.start(bench.claim(), "etcd")
    etcd = bench.etcd()
    assert etcd.settings.get() == etcd.process.get().settings == {"name": "a"}  # type: ignore[union-attr]
    bench.host.effects.write_settings(bench.claim(), "etcd", {"name": "b"})
    os.utime(config, (time.time() + 5, time.time() + 5))
    etcd = bench.etcd()
    assert etcd.settings.get() == {"name": "b"}
    assert etcd.process.get().settings == {"config-file": "/etc/etcd.yml"}  # type: ignore[union-attr]


def test_only_etcds_variables_are_read_of_a_process(bench: Bench) -> None:
    bench.file(
        UNIT,
        f"[Service]\nUser={getpass.getuser()}\nEnvironment=ETCD_NAME=a\nEnvironment=SECRET=canary\n"
        "ExecStart=/usr/local/bin/etcd\n",
    )
    bench.host.effects.start(bench.claim(), "etcd")
    answers: list[bytes] = []
    run = bench.shell.run
    bench.shell.run = lambda *a, **k: answers.append((done := run(*a, **k)).stdout) or done  # type: ignore
    assert bench.etcd().process.get().settings == {"name": "a"}  # type: ignore[union-attr]
    assert re.findall(rb" environ etcd.service\n(.*?)\n", answers[0]) == [b"ETCD_NAME=a\0"]


@pytest.mark.parametrize(
    ("units", "expected", "names"),
    [
        (["kube-apiserver.service"], ["cp-1"], {"cp-1"}),
        (["kube-apiserver.service"], [], {"kube-apiserver"}),
        (["kube-apiserver.service"], ["cp-1", "cp-2"], {"kube-apiserver"}),
        (["kube-apiserver-cp-1.service", "kube-apiserver-cp-2.service"], ["cp-1"], {"cp-1", "cp-2"}),
        (["kube-apiserver-cp-1.service", "kube-apiserver.service"], ["cp-1", "cp-2"], {"cp-1", "cp-2"}),
    ],
)
def test_api_servers_by_the_names_of_their_units(
    bench: Bench, units: list[str], expected: list[str], names: set[str]
) -> None:
    for unit in units:
        bench.file(
            f"etc/systemd/system/{unit}",
            "[Service]\nExecStart=/bin/kube-apiserver --etcd-servers=http://a:1\n",
        )
    host = RemoteHost(bench.shell, bench.members, Layout(api_servers=dict.fromkeys(expected, "")))
    found = host.inspect(timeout=10).api_servers
    assert set(found) == names
    assert {unit.settings.get()["etcd-servers"] for unit in found.values()} == {"http://a:1"}  # type: ignore[index]


def test_an_instance_of_a_template(bench: Bench) -> None:
    bench.file(
        "etc/systemd/system/kube-apiserver@.service",
        "[Service]\nExecStart=/bin/kube-apiserver --etcd-prefix=/%i\n",
    )
    wants = bench.root / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir()
    (wants / "kube-apiserver@cp-1.service").symlink_to("../kube-apiserver@.service")
    found = bench.host.inspect(timeout=10).api_servers
    assert {name: unit.settings.get() for name, unit in found.items()} == {"cp-1": {"etcd-prefix": "/cp-1"}}


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\x1b]0;x\x07" * 1000,
        b"NONCE looked",
        b"NONCE looked \nmore",
        b"NONCE now x\nNONCE looked \n",
        b"NONCE system a\nNONCE looked \n",
        b"NONCE file QQ== 1 644 0:0\nNONCE looked \n",
        b"NONCE show %%%\nNONCE looked \n",
        b"NONCE surprise 1\nNONCE looked \n",
        b"NONCE done \n",
        b"NONCE now 1\nNONCE free 9 x /a\nNONCE looked \n",
    ],
)
def test_a_hostile_host_is_unreachable_or_unknown(bench: Bench, answer: bytes) -> None:
    from etcdplan.hosts.shell import Completed

    def run(script: str, nonce: str, *arguments: str, **more: object) -> Completed:
        return Completed(0, answer.replace(b"NONCE", nonce.encode()), "\x1b[2Jboo")

    bench.shell.run = run  # type: ignore[method-assign, assignment]
    try:
        report = bench.host.inspect(timeout=10)
    except HostUnreachable as error:
        assert error.message.isprintable()
        return
    assert report.etcd.settings.is_unknown


def test_a_host_that_names_ever_more_files_ends(bench: Bench) -> None:
    unit = bench.file(UNIT, f"[Service]\nExecStart=/etcd --data-dir=/d/{10**18}\n")
    shim = "#!/bin/sh\nn=$(date +%s%N)\n"
    shim += f"printf '[Service]\\nExecStart=/etcd --data-dir=/d/%s\\n' $n >{unit}\nexec /bin/cat \"$@\"\n"
    bench.shell.shim("cat", shim)
    with pytest.raises(HostUnreachable, match="names ever more"):
        bench.host.inspect(timeout=30)


@pytest.mark.parametrize(
    ("credentials", "answer", "ready"),
    [
        ("flags", "200", True),
        ("two words", "200", True),
        ("kubeadm", "200", True),
        ("kubelet", "200", True),
        ("flags", "500", False),
        ("none", "200", None),
        ("flags", "403", False),
        ("flags", "401", None),
        ("flags", "", False),
    ],
)
def test_an_api_server_is_asked_with_its_hosts_certificate(
    bench: Bench, tmp_path: Path, credentials: str, answer: str, ready: bool | None
) -> None:
    made = ["-keyout", tmp_path / "key", "-out", tmp_path / "crt"]
    command = ["openssl", "req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    subprocess.run([*command, "-subj", "/CN=x", "-days", "1", *made], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "crt", tmp_path / "key")
    context.load_verify_locations(tmp_path / "crt")
    context.verify_mode = ssl.CERT_OPTIONAL
    with socket.create_server(("127.7.7.9", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with (
                connection,
                contextlib.suppress(OSError),
                context.wrap_socket(connection, server_side=True) as tls,
            ):
                asked = tls.recv(1000).startswith(b"GET /readyz ")
                status = answer if tls.getpeercert(binary_form=True) else "401"
                if asked and answer:
                    tls.sendall(f"HTTP/1.1 {status} X\r\n\r\n{'x' * 10000}".encode())

        flags = f"--etcd-servers=http://a:1 --bind-address=127.7.7.9 --secure-port={server.getsockname()[1]}"
        places = {
            "kubeadm": [f"etc/kubernetes/pki/apiserver-kubelet-client.{part}" for part in ("crt", "key")],
            "kubelet": ["var/lib/kubelet/pki/kubelet-client-current.pem"] * 2,
            "none": [],
        }.get(credentials, ["pki/crt", "pki/key"])
        both = (tmp_path / "crt").read_text() + (tmp_path / "key").read_text()
        for place in places:
            bench.file(place, both)
        gap = {"flags": "=", "two words": " "}.get(credentials)
        if gap:
            flags += f" --kubelet-client-certificate{gap}/pki/crt --kubelet-client-key{gap}/pki/key"
        unit = f"[Service]\nExecStart=/usr/local/bin/kube-apiserver {flags}\n"
        bench.file("etc/systemd/system/kube-apiserver-cp-1.service", unit)
        bench.host.effects.start(bench.claim(), "apiserver/cp-1")
        serving = bench.in_thread(serve)
        process = bench.host.inspect(timeout=10).api_servers["cp-1"].process
        serving.done()
    if ready is None:
        assert "401" in process.why
        return
    assert process.value is not None
    assert process.value.settings == {"etcd-servers": "http://a:1"}
    assert process.value.answering == ready


def test_a_unit_that_the_spec_names_may_have_any_name(bench: Bench) -> None:
    layout = Layout(api_servers={"cp-1": "control-plane.service", "cp-2": "control-plane@two.service"})
    host = RemoteHost(bench.shell, bench.members, layout)
    unit = "[Service]\nExecStart=/usr/local/bin/kube-apiserver --etcd-servers=http://a:1 --secure-port=1\n"
    bench.file("etc/systemd/system/control-plane.service", unit)
    bench.file("usr/lib/systemd/system/control-plane@.service", unit.replace("http://a:1", "http://%i:1"))
    bench.file("etc/systemd/system/control-plane@.service.d/x.conf", "[Service]\n")
    host.effects.write_settings(bench.claim(), "apiserver/cp-1", {"etcd-servers": "http://b:1"})
    host.effects.start(bench.claim(), "apiserver/cp-1")
    found = host.inspect(timeout=10).api_servers
    assert found["cp-1"].settings.get() == {"etcd-servers": "http://b:1"}
    assert found["cp-1"].process.get() is not None
    assert found["cp-2"].settings.get() == {"etcd-servers": "http://two:1"}


def test_a_unit_that_the_spec_names_is_missing(bench: Bench) -> None:
    host = RemoteHost(bench.shell, bench.members, Layout(api_servers={"cp-1": "gone.service"}))
    found = host.inspect(timeout=10).api_servers["cp-1"]
    assert (found.settings.get(), found.process.get()) == (None, None)


KUBEPODS = (
    "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice/cri-containerd-2.scope\n"
)
OWN = "0::/system.slice/system-kube\\x2dapiserver.slice/kube-apiserver@cp1.service\n"


@pytest.mark.parametrize(
    ("group", "state", "seen"),
    [
        (KUBEPODS, "S", "static-pod"),
        ("1:name=systemd:/kubepods/burstable/pod1/2\n", "S", "static-pod"),
        ("0::/system.slice/k8s-api.service\n", "S", "k8s-api.service"),
        ("0::/user.slice/user-0.slice/session-1.scope\n", "R", "no-unit"),
        ("", "S", "no-unit"),
        (OWN, "S", ""),  # Behind a wrapper, or between two looks of systemd.
        (KUBEPODS, "Z", ""),
    ],
)
def test_an_api_server_that_no_known_unit_has_started(
    bench: Bench, group: str, state: str, seen: str
) -> None:
    bench.file("etc/systemd/system/kube-apiserver@.service", "[Service]\nExecStart=/usr/local/bin/wrapper\n")
    bench.file("etc/systemd/system/multi-user.target.wants/kube-apiserver@cp1.service", "")
    bench.file("proc/4711/stat", f"4711 (kube-apiserver) {state} {' '.join(['0'] * 48)}\n")
    bench.file("proc/4711/cmdline", "kube-apiserver\0--etcd-servers=https://127.0.0.1:2379\0--v=2\0")
    bench.file("proc/4711/cgroup", group)
    report = bench.host.inspect(timeout=10)
    flags = {"etcd-servers": "https://127.0.0.1:2379"}
    assert report.strays == ({seen: flags} if seen else {})
    assert report.etcd.process.get() is None


def test_api_servers_that_no_unit_has_started_are_told_apart(bench: Bench) -> None:
    for pid, words in (
        (7, "kube-apiserver\0what is this\0"),
        (8, "kube-apiserver\0--etcd-servers=http://a\0"),
    ):
        bench.file(f"proc/{pid}/stat", f"{pid} (kube-apiserver) S {' '.join(['0'] * 48)}\n")
        bench.file(f"proc/{pid}/cmdline", words)
    assert bench.host.inspect(timeout=10).strays == {"no-unit": {}, "no-unit-2": {"etcd-servers": "http://a"}}
