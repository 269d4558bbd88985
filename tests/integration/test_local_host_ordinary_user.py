"""A lab with real etcd, without root."""

import pytest

from etcdplan.lab.binaries import etcd_binaries
from tests.support.ordinary_user import run_as_ordinary_user

pytestmark = pytest.mark.host


def test_a_lab_as_an_ordinary_user() -> None:
    subjects = ("one_member_from_nothing_to_set_aside", "a_member_is_replaced_by_effects_alone")
    tests = (f"tests/integration/test_local_host.py::test_{subject}[3.6.16]" for subject in subjects)
    run_as_ordinary_user(*tests, etcd_dir=etcd_binaries("3.6.16"))
