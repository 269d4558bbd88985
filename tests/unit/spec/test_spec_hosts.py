"""Hosts: one spelling each, and only what reaches one host."""

import pytest

from etcdplan.spec.hosts import normalise_host
from etcdplan.spec.problems import Invalid


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("127.0.0.11", "127.0.0.11"),
        ("2001:DB8:0:0::1", "2001:db8::1"),
        ("::1", "::1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("Etcd-1.Example.ORG", "etcd-1.example.org"),
        ("localhost", "localhost"),
        ("1password.example", "1password.example"),
        (f"{'a' * 63}.b", f"{'a' * 63}.b"),
    ],
)
def test_hosts(written: str, normal: str) -> None:
    assert normalise_host(written) == normal
    assert normalise_host(normal) == normal


NOT_HOSTS = """
0.0.0.0 :: ::ffff:0.0.0.0 255.255.255.255 224.0.0.1 ff02::1 fe80::1%eth0 [::1] 10.0.0.1:2380 10.0.0 10.0.0.256
010.0.0.1 1 host:2380 https://host -host host- a..b .a a. a_b a/b *.a ümlaut.example
"""


@pytest.mark.parametrize("written", ["", " a", "a\n", "a" * 64, ".".join(["a" * 60] * 5), *NOT_HOSTS.split()])
def test_not_hosts(written: str) -> None:
    with pytest.raises(Invalid):
        normalise_host(written)
