"""etcd's program on a systemd host: sent as a whole or not at all, seen by its checksum, started by the unit."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from etcdplan.hosts.ports import Claim, Fenced, HostRefused, ProgramFiles
from etcdplan.hosts.remote.program import changed_program
from etcdplan.hosts.remote.service import Machine, Service
from etcdplan.hosts.shell import Completed
from etcdplan.model.state import PROGRAM
from tests.unit.hosts.remote.conftest import SETTINGS, TOKEN, Bench

PATH = "/opt/etcdplan/etcd-3.6.16-c0ffee/etcd"
ETCD = b"#!/bin/sh\necho etcd Version: 3.6.16\necho Git SHA: x\n"


@pytest.fixture
def bench(bench: Bench) -> Bench:
    bench.root.parent.chmod(0o755)
    for place in (bench.root, *bench.root.parents):
        if place.owner() == "root" and place != Path("/"):
            place.chmod(place.stat().st_mode | 0o111)
    (bench.root / "opt").mkdir()
    bench.host = replace(bench.host, layout=replace(bench.host.layout, source=PATH))
    return bench


def install(bench: Bench, number: int = 1, version: str = "3.6.16", **files: bytes) -> None:
    files = {"etcd": ETCD, "etcdctl": b"another", **files}
    bench.host.effects.install_program(Claim(TOKEN, f"run-{number}"), ProgramFiles(PATH, version, files))


def seen(bench: Bench) -> str | None:
    return bench.host.inspect(timeout=10).program.get()


def names(bench: Bench) -> list[str]:
    return sorted(str(path.relative_to(bench.root / "opt")) for path in (bench.root / "opt").rglob("*"))


def test_it_comes_whole_and_damage_is_seen(bench: Bench) -> None:
    assert seen(bench) is None
    install(bench)
    assert seen(bench) == PATH
    program = bench.root / PATH.lstrip("/")
    assert program.read_bytes() == ETCD
    assert program.stat().st_mode & 0o777 == 0o755
    program.write_bytes(ETCD + b"#")
    assert seen(bench) is None
    install(bench, 2)
    assert seen(bench) == PATH
    (program.parent / "SHA256SUMS").unlink()
    assert seen(bench) is None


@pytest.mark.parametrize("version", ["3.6.1", "3.6.17", "3.6"])
def test_another_version_is_refused(bench: Bench, version: str) -> None:
    with pytest.raises(HostRefused, match=f"holds etcd Version: 3.6.16, not etcd {version}"):
        install(bench, version=version)
    assert names(bench) == ["etcdplan"]


def test_what_cannot_be_executed_is_refused(bench: Bench) -> None:
    with pytest.raises(HostRefused, match="cannot be executed"):
        install(bench, etcd=b"\x7fELF of another machine")
    assert names(bench) == ["etcdplan"]


def test_a_cut_transfer_is_thrown_away(bench: Bench) -> None:
    real = bench.shell.run

    def cut(script: str, *arguments: str, stdin: bytes = b"", **limits: Any) -> Completed:
        return real(script, *arguments, stdin=stdin[: len(stdin) // 2], **limits)

    bench.shell.run = cut  # type: ignore[method-assign]
    with pytest.raises(HostRefused, match="another checksum"):
        install(bench)
    assert names(bench) == ["etcdplan"]


def test_a_controller_that_was_replaced_leaves_nothing(bench: Bench) -> None:
    bench.lock(TOKEN + 1)
    with pytest.raises(Fenced, match="another run has taken over"):
        install(bench)
    assert seen(bench) is None


def test_a_lost_answer_is_asked_for(bench: Bench) -> None:
    bench.shell.lose = lambda verb: verb == "install-program"
    install(bench)
    assert seen(bench) == PATH


def test_what_a_power_cut_left_behind_goes(bench: Bench) -> None:
    (bench.root / "opt/etcdplan/.new.12345678").mkdir(parents=True)
    install(bench)
    assert [path.name for path in (bench.root / "opt/etcdplan").iterdir()] == ["etcd-3.6.16-c0ffee"]


def test_no_room(bench: Bench) -> None:
    bench.shell.shim("stat", '#!/bin/sh\ncase $1 in -f) echo 1 4096 ;; *) exec /usr/bin/stat "$@" ;; esac\n')
    with pytest.raises(HostRefused, match="its disk is full") as caught:
        install(bench, etcdutl=bytes(9000))
    assert "4096 are free" in caught.value.message
    assert names(bench) == ["etcdplan"]


def test_the_own_unit_starts_it_and_its_path_is_a_setting(bench: Bench) -> None:
    effects = bench.host.effects
    effects.write_settings(Claim(TOKEN, "w1"), "etcd", SETTINGS)
    there = bench.host.inspect(timeout=10).etcd.settings.get()
    assert there == {**SETTINGS, PROGRAM: "/usr/local/bin/etcd"}
    effects.write_settings(Claim(TOKEN, "w2"), "etcd", {**SETTINGS, PROGRAM: PATH})
    assert bench.host.inspect(timeout=10).etcd.settings.get() == {**SETTINGS, PROGRAM: PATH}
    assert f"ExecStart={PATH} " in (bench.root / "etc/systemd/system/etcd.service").read_text()


def test_a_package_s_unit_gets_a_drop_in() -> None:
    unit = "/usr/lib/systemd/system/etcd.service"
    service = Service(
        "etcd.service",
        {unit: "[Service]\nExecStart=-/usr/bin/etcd $DAEMON_ARGS --name=a\n"},
        Machine("h1", "", ""),
        lambda _: None,
    )
    assert changed_program(service, {}, "/usr/bin/etcd") == {}
    texts = changed_program(service, {"/etc/default/etcd": "A=b\n"}, PATH)
    drop_in = "/etc/systemd/system/etcd.service.d/zz-etcdplan.conf"
    assert texts == {
        "/etc/default/etcd": "A=b\n",
        drop_in: f"[Service]\nExecStart=\nExecStart=-{PATH} $DAEMON_ARGS --name=a\n",
    }
    flags = {drop_in: "[Service]\nExecStart=\nExecStart=-/usr/bin/etcd --name=b\n"}
    assert changed_program(service, flags, PATH) == {
        drop_in: f"[Service]\nExecStart=\nExecStart=-{PATH} --name=b\n"
    }
