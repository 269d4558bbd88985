"""What etcd said on the hosts, beside a failure."""

from collections.abc import Generator

import pytest

from tests.support.fleet import Fleet


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Function, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add it to the report while the hosts are still there."""
    report = yield
    if call.when == "call" and report.failed:
        for fleet in item.funcargs.values():
            if isinstance(fleet, Fleet):
                report.sections.append(("etcd on the hosts", fleet.logs()))
    return report
