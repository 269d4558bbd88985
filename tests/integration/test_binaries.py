"""The real binaries, from the user's cache; the first run builds them."""

import subprocess

import pytest

from etcdplan.lab.apiserver_binary import kube_apiserver
from etcdplan.lab.binaries import etcd_binaries


@pytest.mark.host
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("version", ["3.4.23", "3.5.35", "3.6.16", "3.7.3"])
def test_etcd(version: str) -> None:
    directory = etcd_binaries(version)
    for tool, argument in {"etcd": "--version", "etcdctl": "version"}.items():
        shown = subprocess.run(
            [directory / tool, argument], capture_output=True, text=True, timeout=30, check=True
        )
        assert f"ersion: {version}\n" in shown.stdout


@pytest.mark.host
@pytest.mark.timeout(1500)
def test_kube_apiserver() -> None:
    binary = kube_apiserver(build=True)
    assert binary is not None
    shown = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=30, check=True)
    assert shown.stdout == "Kubernetes v1.34.4\n"
