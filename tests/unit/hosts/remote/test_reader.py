"""The read-only role reads no unit but etcd's and those that run kube-apiserver, whoever's name is given."""

import base64
import shlex

import pytest

from etcdplan.hosts.remote.reader import reader
from tests.unit.hosts.remote.conftest import Bench

SYSTEM = "etc/systemd/system"


def asks(bench: Bench, *arguments: str) -> str:
    """Return what the role's script answers, with refusals in plain."""
    text = reader().text.replace("PATH=/usr", f"PATH={shlex.quote(str(bench.shell.shims))}:/usr", 1)
    out = bench.shell.run(text, "mark", "nonce", *arguments, timeout=20).stdout.decode()
    refused = out.rpartition("nonce refused ")[2].strip() if "nonce refused " in out else ""
    return out + base64.b64decode(refused).decode()


@pytest.fixture
def units(bench: Bench) -> Bench:
    """Units whose environment files hold a secret, but for those of API servers."""
    for name, command in (
        ("app.service", "/usr/bin/app"),
        ("app@.service", "/usr/bin/%i"),
        ("app.socket", "/usr/bin/app"),
        ("two.service", "/usr/bin/kube-apiserver\nExecStart=/usr/bin/app"),
        ("half.service.d/x.conf", ""),
        ("half@.service.d/x.conf", ""),
    ):
        bench.file(f"{SYSTEM}/{name}", f"[Service]\nEnvironmentFile=/etc/app.env\nExecStart={command}\n")
    bench.file("etc/app.env", "TOKEN=canary\n")
    for name in ("own.service", "own@.service"):
        bench.file(
            f"{SYSTEM}/{name}", "[Service]\nEnvironmentFile=/etc/own\nExecStart=/opt/kube-apiserver $A\n"
        )
    bench.file("etc/own", "A=--v=2\n")
    return bench


@pytest.mark.parametrize(
    "unit",
    [
        "app.service",
        "app.socket",
        "app@.service",
        "app@kube-apiserver.service",
        "two.service",
        "half.service",
        "half@x.service",
        "half@y.service",
    ],
)
def test_other_units_are_not_read(units: Bench, unit: str) -> None:
    for arguments in ((unit, "1"), ("etcd.service", "1", f"={unit}")):
        said = asks(units, "inspect", *arguments)
        assert "canary" not in said and "app.env" not in said
        assert f"{unit} is not etcd's unit" in said or f"{unit} does not run kube-apiserver" in said, said


def test_when_systemd_does_not_say_what_it_runs_it_is_not_read(units: Bench) -> None:
    units.file("fake/broken", "")
    assert "own.service does not run" in asks(units, "inspect", "etcd.service", "1", "=own.service")


def test_api_servers_under_other_names_are(units: Bench) -> None:
    said = asks(units, "inspect", "etcd.service", "1", "=own.service", "=own@a.service", "=none.service")
    assert "A=--v=2" in said and "Id=none.service" in said and "nonce looked" in said
