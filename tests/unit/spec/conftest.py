"""A valid spec as text, and what loading a changed one says."""

from collections.abc import Callable
from pathlib import Path

import pytest

from etcdplan.spec.load import LoadedSpec, load_spec
from etcdplan.spec.problems import SpecInvalid

VALID = """\
apiVersion: etcdplan/v1
kind: EtcdCluster
metadata: {name: prod}
spec:
  etcd:
    version: 3.6.16
    heartbeatInterval: 100ms
    electionTimeout: 1s
    quotaBackend: 8GiB
    extraArgs: {snapshot-count: "10000"}
  members:
    - {name: member1, host: 10.0.0.1}
    - {name: member2, host: 10.0.0.2}
    - {name: member3, host: 10.0.0.3}
  tls:
    ca: {certificate: ca.crt, key: ca.key.age}
    operator: {certificate: op.crt, key: op.key}
  apiServers:
    connect: all
    instances:
      - {name: cp1, host: 10.0.0.11}
    flags: {etcd-compaction-interval: 5m}
"""


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., LoadedSpec]:
    """Load VALID with `old` replaced by `new`, which must occur once; several pairs may follow."""

    def run(*changes: str) -> LoadedSpec:
        text = VALID
        for old, new in zip(changes[::2], changes[1::2], strict=True):
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        path = tmp_path / "prod.yaml"
        path.write_text(text)
        return load_spec(path)

    return run


@pytest.fixture
def problems(load: Callable[..., LoadedSpec], tmp_path: Path) -> Callable[..., list[str]]:
    """What is wrong with VALID after the changes, without the path in front."""

    def run(*changes: str) -> list[str]:
        with pytest.raises(SpecInvalid) as caught:
            load(*changes)
        prefix = f"{tmp_path / 'prod.yaml'}:"
        lines = caught.value.message.splitlines()
        assert all(line.startswith(prefix) for line in lines)
        return [line.removeprefix(prefix) for line in lines]

    return run
