"""What the SSH user may do by sudo: to read, one script that root owns; to apply, all; or nothing any more."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bed import DEPLOY, VISITOR
from tests.bed.host import Host
from tests.support.fleet import Fleet

pytestmark = [pytest.mark.bed, pytest.mark.timeout(600)]

READER = "/usr/local/lib/etcdplan/read"


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    with Fleet.up(tmp_path, 1) as fleet:
        yield fleet


def give_plan_role(fleet: Fleet, host: Host) -> None:
    host.put(READER, fleet.run("access", "--reader").out, 0o755)
    rights = fleet.run("access", "--sudoers", "--role", "plan", "--user", VISITOR).out
    host.put("/etc/sudoers.d/visitor", rights, 0o440)
    host.exec("visudo", "--check")


def as_user(fleet: Fleet, user: str) -> None:
    fleet.user = user
    fleet.write_spec((1,), allowOutage="true")


def test_the_plan_role_reads_and_can_do_nothing_else(fleet: Fleet) -> None:
    host = fleet.host(1)
    as_user(fleet, DEPLOY)
    fleet.apply()
    as_user(fleet, VISITOR)
    refused = fleet.plan(expect=8)
    assert f"does not let visitor run commands as root, nor is {READER} of this version there" in refused
    give_plan_role(fleet, host)
    fleet.settled(1)
    fleet.run("observe", fleet.spec, "-o", "live.json")
    fleet.write_spec((1,), allowOutage="true", quotaBackend="4GiB")
    assert "quota-backend-bytes" in fleet.plan()
    before = host.exec("systemctl", "cat", "etcd").stdout
    done = fleet.apply(expect=None)
    said = " ".join(done.err.replace("│", " ").split())
    assert done.code == 8 and "does not let visitor run commands as root" in said, done
    assert "'etcdplan access --sudoers --role apply SPEC'" in said, done
    assert host.exec("systemctl", "cat", "etcd").stdout == before
    # Another version's script counts as none.
    host.exec("sh", "-c", f"echo '# older' >>{READER}")
    assert f"nor is {READER} of this version there" in fleet.plan(expect=8)


def test_the_plan_role_reads_only_what_a_plan_needs(fleet: Fleet) -> None:
    host = fleet.host(1)
    give_plan_role(fleet, host)
    host.put("/root/secret", "canary-of-root", 0o644)
    fleet.bed.ssh(host, "mkdir -p x && ln -s /etc/shadow x/a.wal && ln -s /root/secret y", user=VISITOR)

    def asks(*arguments: str) -> bytes:
        done = fleet.bed.ssh(host, "sudo", "-n", READER, "mark", "nonce", *arguments, user=VISITOR)
        assert b"canary" not in done.stdout and b"root:" not in done.stdout, (arguments, done.stdout)
        return done.stdout

    unit = "inspect etcd.service 2"
    home = "/home/visitor"
    # Whatever else there is, and whatever an instance is called.
    for name, command in (
        ("app.service", "/bin/sleep"),
        ("app@.service", "/bin/%i"),
        ("app.socket", "/bin/sleep"),
        ("own.service", "/opt/kube-apiserver"),
    ):
        host.put(
            f"/etc/systemd/system/{name}", f"[Service]\nEnvironmentFile=/etc/{name}\nExecStart={command}\n"
        )
        host.put(f"/etc/{name}", "TOKEN=canary\n" if name != "own.service" else "ARGS=--v=2\n", 0o600)
    host.put("/etc/systemd/system/half.service.d/x.conf", "[Service]\nEnvironmentFile=/etc/app.service\n")
    host.exec("systemctl", "daemon-reload")
    for words in (
        "inspect app.service 2",
        f"{unit} =app.service",
        f"{unit} =app.socket",
        f"{unit} =app@.service",
        f"{unit} =app@kube-apiserver.service",
        f"{unit} =half.service",
        f"{unit} =systemd-journald.service",
        f"{unit} +/root/secret",
        f"{unit} +{home}/y",
        f"{unit} +/etc/shadow",
        f"{unit} {home}/x",
        f"{unit} +/etc/default/../shadow",
        "inspect ../../shadow 2",
        "inspect -H 2",
        "inspect etcd.service x",
        f"{unit} =/root/secret",
        f"{unit} @/root/secret",
        "read ../../../etc/shadow",
        "names ../../../root",
    ):
        asks(*words.split())
    assert b"ARGS=--v=2" in asks(*f"{unit} =own.service =none.service =none@x.service".split())
    asks("inspect", "etcd.service", "2", "'+/tmp/x\n/etc/shadow'")
    for words in ("write x 0", "append x 0", "replace x 0 - 1", "start etcd", ""):
        assert b"nonce done" not in asks(*words.split())
    assert b"/etc/debian_version" in asks("inspect", "etcd.service", "2", "+/etc/debian_version")


def test_a_right_that_is_taken_away_in_the_middle_stops_the_run(fleet: Fleet) -> None:
    host = fleet.host(1)
    as_user(fleet, DEPLOY)
    right = host.exec("cat", "/etc/sudoers.d/deploy").stdout
    process = fleet.start("apply", fleet.spec, "--auto-approve")
    assert process.stderr is not None
    said = ""
    while "[4/" not in said:
        line = process.stderr.readline()
        assert line, said
        said += line
    host.exec("rm", "/etc/sudoers.d/deploy")
    _, err = process.communicate(timeout=120)
    assert process.returncode in (6, 8) and "does not let deploy run commands as root" in said + err, (
        said + err
    )
    host.put("/etc/sudoers.d/deploy", right, 0o440)
    fleet.resume()
    fleet.settled(1)
