"""Nothing of hosts and labs needs root."""

from tests.support.ordinary_user import run_as_ordinary_user


def test_hosts_and_labs_as_an_ordinary_user() -> None:
    hosts = (
        f"tests/unit/hosts/test_{subject}.py" for subject in ("supervisor", "local_store", "local_effects")
    )
    run_as_ordinary_user(*hosts, "tests/unit/lab/test_lab_processes.py")
