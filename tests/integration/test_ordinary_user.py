"""The whole way from `lab up` to `lab down`, without root."""

import pytest

from etcdplan.lab.binaries import etcd_binaries
from tests.support.cli import VERSION
from tests.support.ordinary_user import run_as_ordinary_user

pytestmark = [pytest.mark.host, pytest.mark.timeout(300)]


def test_a_lab_from_up_to_down_as_an_ordinary_user() -> None:
    subjects = ("up_break_plan_apply_down", "what_a_killed_lab_leaves_is_cleaned")
    tests = (f"tests/integration/test_lab_commands.py::test_{subject}" for subject in subjects)
    run_as_ordinary_user(*tests, etcd_dir=etcd_binaries(VERSION))
