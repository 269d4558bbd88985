import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

import pytest

from etcdplan.pki.authority import Authority, LeafRequest, create_authority
from etcdplan.pki.leaf import new_key_and_csr
from etcdplan.pki.secret import Secret


class OpenSsl(Protocol):
    def __call__(self, *arguments: object, stdin: bytes = b"", ok: bool = True) -> str: ...


@pytest.fixture(scope="session")
def openssl() -> OpenSsl:
    """The openssl command: a judge that shares no code with the library."""

    def run(*arguments: object, stdin: bytes = b"", ok: bool = True) -> str:
        done = subprocess.run(
            ["openssl", *map(str, arguments)], input=stdin, capture_output=True, timeout=60, check=False
        )
        text = (done.stdout + done.stderr).decode()
        assert (done.returncode == 0) is ok, text
        return done.stdout.decode() if ok else text

    return run


@pytest.fixture(scope="session")
def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture(scope="session")
def authority(now: datetime) -> Authority:
    return create_authority("etcd-ca", now=now)


MEMBER = LeafRequest("member1", ("member1", "localhost"), ("10.0.0.1", "::1"), server=True, client=True)


@pytest.fixture(scope="session")
def member() -> LeafRequest:
    return MEMBER


@pytest.fixture
def issue(authority: Authority, now: datetime) -> Callable[..., tuple[Secret, bytes]]:
    def run(leaf: LeafRequest = MEMBER, *, days: int = 365) -> tuple[Secret, bytes]:
        key, csr = new_key_and_csr()
        return key, authority.sign(csr, leaf, now=now, days=days)

    return run
