"""What tests of the command line share: a spec, a saved state, and what was said."""

import json
import re
from pathlib import Path

import pytest

from etcdplan.model.saved import dump_state
from etcdplan.model.state import State

SPEC = """\
apiVersion: etcdplan/v1
kind: EtcdCluster
metadata: {name: contract}
spec:
  etcd: {version: 3.6.16, runtime: process}
  members:
    - {name: member1, host: 10.0.0.1}
    - {name: member2, host: 10.0.0.2}
    - {name: member3, host: 10.0.0.3}
  tls:
    ca: {certificate: pki/etcd-ca.crt, key: pki/etcd-ca.key}
    operator: {certificate: pki/operator.crt, key: pki/operator.key}
"""


def save(path: Path, state: State) -> Path:
    """Write a state as `observe -o` does."""
    path.write_text(json.dumps(dump_state(state)))
    return path


def words(capsys: pytest.CaptureFixture[str]) -> str:
    """Return what was said on standard error, as one line without the box."""
    return " ".join(re.sub("[╷│╵]", " ", capsys.readouterr().err).split())
