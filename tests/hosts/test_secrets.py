"""No secret is anywhere but where it belongs: not in output, logs, plans, journals, processes or left-over files.

Each is first shown to be found in each of these places, in the forms of `tests/unit/test_canaries.py`.
"""

import base64
import secrets
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pyrage
import pytest

from etcdplan.hosts.processes import wait_until
from tests.bed.host import Host
from tests.support.canaries import Canary, found
from tests.support.fleet import Done, Fleet
from tests.support.kubernetes import ENVIRONMENT, PKI, ControlPlane
from tests.support.process_samples import ProcessSamples

pytestmark = [pytest.mark.bed, pytest.mark.timeout(900)]

RUNNER = """\
import logging, os, sys
logging.basicConfig(level=logging.DEBUG)  # whatever any library would log
if os.environ.get("CRASH"):
    from etcdplan.hosts.remote.effects import RemoteEffects
    def crash(self, claim, leaf, certificate):
        raise RuntimeError(f"planted: {self} {claim} {leaf} {certificate!r}")
    RemoteEffects.install_leaf = crash
if os.environ.get("LEAK"):
    text = open(os.environ["LEAK"]).read()
    sys.stdout.write(text)
    raise RuntimeError(text)
from etcdplan.__main__ import main
sys.exit(main())
"""
KEYS_ON_HOSTS = "/etc/etcdplan/pki"
API_FLAGS = "/etc/default/kube-apiserver"
ENCRYPTION = "/etc/kubernetes/encryption.yaml"
CHANGED = f"""\
cd / && find etc var opt root home tmp run srv usr -xdev -type f -newer /began ! -path 'var/lib/etcd/*' \
! -path '{API_FLAGS[1:]}' ! -path '{KEYS_ON_HOSTS[1:]}/*/tls.key' -print0 |
    tar --null --no-recursion --files-from=- --create --ignore-failed-read --file=- 2>/dev/null | base64 -w 0
"""


@dataclass
class Scene:
    """Hosts, a runner, and the secrets of both."""

    fleet: Fleet
    plane: ControlPlane
    samples: ProcessSamples
    canaries: list[Canary] = field(default_factory=list)
    said: dict[str, bytes] = field(default_factory=dict)

    @property
    def hosts(self) -> tuple[Host, ...]:
        return self.fleet.bed.hosts

    def spec(self, **etcd: str) -> None:
        self.fleet.write_spec((1, 2, 3), **etcd)
        text = self.fleet.spec.read_text()
        for key in ("etcd-ca.key", "operator.key"):
            text = text.replace(key, f"{key}.age")
        flags = "    flags: {etcd-compaction-interval: 6m}\n" if etcd else ""
        servers = f"  apiServers:\n    connect: own\n    drain: balancer\n{flags}    instances:\n"
        self.fleet.spec.write_text(text + servers + self.plane.instances(cp1="member1"))

    def run(self, name: str, *arguments: str | Path, expect: int | None = 0, **environment: str) -> Done:
        done = self.fleet.run(*arguments, expect=expect, **environment)
        self.said[f"{name}: stdout"], self.said[f"{name}: stderr"] = done.out.encode(), done.err.encode()
        return done

    def word(self, name: str) -> str:
        """Make a secret that no form leaves as it is."""
        word = f"{secrets.token_hex(12)}+/~=%{secrets.token_hex(4)}"
        self.canaries.append(Canary.word(name, word))
        return word

    def places(self) -> dict[str, bytes]:
        """Return all that is to be searched."""
        places = dict(self.said)
        places["command lines"] = b"\n".join(self.samples.command_lines)
        places["environments"] = b"\n".join(self.samples.environments)
        own = ("pki/", "own/")
        files = [path for path in self.fleet.directory.rglob("*") if path.is_file()]
        for path in files:
            name = f"{path.relative_to(self.fleet.directory)}"
            if not name.startswith(own) and name not in ("admin.pem", "leak"):
                places[name] = path.read_bytes()
        for host in self.hosts:
            journal = host.exec("journalctl", "--no-pager", "--all", "--output=cat", timeout=60).stdout
            places[f"{host.name} journal"] = journal.encode()
            archive = host.exec("sh", "-c", CHANGED, timeout=120).stdout
            places[f"{host.name} files"] = base64.b64decode(archive)
            assert b"var/lib/etcdplan/lock.json" in places[f"{host.name} files"]
        return places

    def _sampled(self, text: str) -> Callable[[str], bool]:
        return lambda what: any(text.encode() in sample for sample in getattr(self.samples, what).copy())

    def keys_on_hosts(self) -> None:
        """Take note of the private keys that were made there."""
        for host in self.hosts:
            listed = host.exec("sh", "-c", f"find {KEYS_ON_HOSTS} -name tls.key -type f").stdout.split()
            assert listed
            for path in listed:
                leaf = path.removeprefix(KEYS_ON_HOSTS)
                self.canaries.append(Canary.key(f"{host.name} {leaf}", host.exec("cat", path).stdout))
                assert host.exec("stat", "-c", "%a", path).stdout.strip() == "600"

    def leak(self) -> set[str]:
        """Write every secret to every kind of place, in all forms that are text; return these places."""
        text = "\n".join(
            leak.decode()
            for canary in self.canaries
            for form, leak in canary.leaks().items()
            if form != "bytes"
        )
        file = self.fleet.directory / "leak"
        file.write_text(text)
        self.run("leak", "plan", self.fleet.spec, expect=1, LEAK=str(file))
        for name in ("plan.json", "live.json", "tmp/left-over", "runner0/journal"):
            with (self.fleet.directory / name).open("a") as there:
                there.write(text)
        every = {"leak: stdout", "leak: stderr", "plan.json", "live.json", "tmp/left-over", "runner0/journal"}
        for host in self.hosts:
            host.put("/var/lib/etcdplan/effects/leak", text)
            host.exec("systemd-cat", "cat", stdin=text)
            host.exec("journalctl", "--sync")
            every |= {f"{host.name} journal", f"{host.name} files"}
        # Over SSH, for what is done on a host past its sshd is not in the host's group of processes.
        self.hosts[0].put("/home/leak", text)
        program = (
            'LEAK="$(cat /home/leak)" sh -c "sleep 90; :" sh "$(cat /home/leak)" >/dev/null 2>&1 </dev/null &'
        )
        self.fleet.bed.ssh(self.hosts[0], program)
        seen = lambda: all(map(self._sampled(text), ("command_lines", "environments")))  # noqa: E731
        assert wait_until(seen, timeout=60), "the samples lack what runs"
        return every | {"command lines", "environments"}


def set_up(fleet: Fleet, samples: ProcessSamples) -> Scene:
    """Plant the secrets that are there before anything is made."""
    plane = ControlPlane(fleet.directory, {"cp1": (fleet.host(1), ENVIRONMENT)})
    scene = Scene(fleet, plane, samples)
    own = fleet.directory / "own"
    own.mkdir()
    (fleet.directory / "tmp").mkdir()
    _runner_s(scene, own)
    _hosts_s(scene)
    return scene


def _runner_s(scene: Scene, own: Path) -> None:
    fleet = scene.fleet
    (own / "runner.py").write_text(RUNNER)
    shutil.rmtree(fleet.directory / "pki")
    age = own / "age.key"
    fleet.run("pki", "init", "--new-identity", age)
    identity = next(line for line in age.read_text().splitlines() if line.startswith("AGE-SECRET-KEY"))
    scene.canaries.append(Canary.word("age identity", identity))
    for name in ("etcd-ca.key", "operator.key"):
        content = (fleet.directory / f"pki/{name}.age").read_bytes()
        text = pyrage.decrypt(content, [pyrage.x25519.Identity.from_str(identity)]).decode()
        scene.canaries.append(Canary.key(name, text))
    scene.canaries.append(Canary.key("SSH key", fleet.bed.identity.read_text()))
    password = own / "sudo"
    password.write_text(scene.word("sudo password") + "\n")
    password.chmod(0o600)
    hook, config = own / "balancer", own / "config.yaml"
    hook.write_text('#!/bin/sh\ntest -n "$BALANCER_TOKEN" && echo "$3 $4" >>"${0%/*}/hooked"\n')
    hook.chmod(0o755)
    argument = scene.word("hook's argument")
    config.write_text(f"hooks:\n  balancer: {{command: [{hook}, --token, '{argument}']}}\n")
    config.chmod(0o600)
    fleet.environment |= {
        "BALANCER_TOKEN": scene.word("hook's environment"),
        "ETCDPLAN_AGE_IDENTITY": str(age),
        "ETCDPLAN_CONFIG": str(config),
        "ETCDPLAN_DEBUG": "1",
        "ETCDPLAN_SUDO_PASSWORD_FILE": str(password),
        "TMPDIR": str(fleet.directory / "tmp"),
    }
    fleet.command = (sys.executable, str(own / "runner.py"))


def _hosts_s(scene: Scene) -> None:
    fleet, host = scene.fleet, scene.fleet.host(1)
    password = next(canary for canary in scene.canaries if canary.name == "sudo password").text
    for one in fleet.bed.hosts:
        one.exec("chpasswd", stdin=f"{fleet.user}:{password}\n")
        one.put("/etc/sudoers.d/deploy", f"{fleet.user} ALL=(ALL:ALL) ALL\n", 0o440)
    key = base64.b64encode(secrets.token_bytes(32)).decode()
    scene.canaries.append(Canary.word("encryption key", key))
    host.put(
        ENCRYPTION,
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n"
        "  - resources: [secrets]\n    providers:\n      - aescbc: {keys: [{name: one, secret: "
        f'"{key}"}}]}}\n',
        0o600,
    )
    flags = scene.plane.read("cp1", API_FLAGS).rstrip().removesuffix('"')
    token = scene.word("environment file")
    more = f' --encryption-provider-config={ENCRYPTION}"\nCLOUD_TOKEN="{token}"\n'
    host.put(API_FLAGS, flags + more, 0o600)
    kubelet = host.exec("cat", f"{PKI}/apiserver-kubelet-client.key").stdout
    scene.canaries.append(Canary.key("kubelet client key", kubelet))
    for one in fleet.bed.hosts:
        one.exec("touch", "/began")
    began = host.exec("stat", "-c", "%Y", "/began").stdout
    assert wait_until(lambda: host.exec("date", "+%s").stdout > began, timeout=30)


def test_secrets_stay_where_they_belong(tmp_path: Path) -> None:
    with Fleet.up(tmp_path, 3) as fleet:
        samples = ProcessSamples(fleet.bed.hosts)
        scene = set_up(fleet, samples)
        with samples.taken():
            scene.spec()
            crashed = scene.run("crash", "apply", fleet.spec, "--auto-approve", expect=None, CRASH="1")
            assert "Traceback" in crashed.err and "RuntimeError: planted" in crashed.err, crashed
            scene.run("found", "apply", "--resume", fleet.spec)
            scene.keys_on_hosts()
            lost = fleet.host(1)
            lost.exec("systemctl", "kill", "--signal=KILL", "etcd")
            lost.exec("systemctl", "stop", "etcd")
            lost.exec("sh", "-c", "rm -rf /var/lib/etcd/member")
            fleet.await_status("2 of 3 voters serve")
            scene.spec(quotaBackend="3GiB")
            scene.run("plan", "plan", fleet.spec, "--out", "plan.json")
            scene.run("show", "show", "plan.json", "--format", "markdown")
            scene.run("show json", "show", "plan.json", "--format", "json")
            scene.run("change", "apply", "plan.json")
            assert (fleet.directory / "own/hooked").read_text().split() == ["cp1", "drain", "cp1", "undrain"]
            scene.run("observe", "observe", fleet.spec, "-o", "live.json")
            scene.run("status", "status", "--json", fleet.spec)
            places = scene.places()
            assert len(scene.canaries) >= 12
            assert any(b"etcd-compaction-interval" in line for line in samples.command_lines)
            leaked_to = scene.leak()
        everything = {(place, canary.name) for place in leaked_to for canary in scene.canaries}
        assert everything - found(scene.places(), scene.canaries) == set()
        assert found(places, scene.canaries) == set()
