"""Where kube-apiserver's binary comes from."""

from pathlib import Path

import pytest

from etcdplan.lab.apiserver_binary import kube_apiserver
from etcdplan.lab.errors import LabError

from .conftest import Machine


def test_order(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    override = machine.program(machine.here / "mine", "v1.34.4")
    cached = machine.program(machine.cache / "kubernetes/1.34.4/kube-apiserver", "v1.34.4")
    on_path = machine.program(machine.bin / "kube-apiserver", "v1.34.4")
    machine.go()

    monkeypatch.setenv("ETCDPLAN_KUBE_APISERVER", str(override))
    assert kube_apiserver(build=True) == override
    monkeypatch.delenv("ETCDPLAN_KUBE_APISERVER")
    assert kube_apiserver(build=True) == cached
    cached.unlink()
    assert kube_apiserver(build=True) == on_path
    machine.program(on_path, "v1.34.3")
    assert kube_apiserver(build=False) is None
    assert machine.builds() == []
    assert kube_apiserver(build=True, report=machine.reports.append) == cached
    assert machine.reports[0] == "building kube-apiserver 1.34.4 from source (about four minutes, once)"
    [build] = machine.builds()
    assert build.endswith(" k8s.io/kubernetes/cmd/kube-apiserver")


def test_override_of_another_version(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.program(machine.bin / "kube-apiserver", "v1.34.4")
    monkeypatch.setenv("ETCDPLAN_KUBE_APISERVER", str(machine.program(machine.here / "mine", "v1.33.1")))
    with pytest.raises(LabError, match=r"ETCDPLAN_KUBE_APISERVER .* is version 1\.33\.1, not 1\.34\.4"):
        kube_apiserver(build=True)


@pytest.mark.usefixtures("machine")
def test_version_that_cannot_be_built() -> None:
    assert kube_apiserver("1.30.0", build=False) is None
    with pytest.raises(LabError, match=r"not one of those that can be built here \(1\.34\.4\)"):
        kube_apiserver("1.30.0", build=True)
    with pytest.raises(LabError, match="is not a version of Kubernetes"):
        kube_apiserver("../1.34.4", build=True)


def test_staging_modules_are_all_of_the_same_version() -> None:
    recipe = Path(__file__).parents[3] / "etcdplan/lab/build/kube-apiserver-1.34.4"
    replaced = [line for line in (recipe / "go.mod").read_text().splitlines() if "=>" in line]
    assert len(replaced) == 31
    assert all(line.endswith(" v0.34.4") for line in replaced)
