"""Flags on disk and of a running process."""

import pytest

from etcdplan.hosts.flags import above, as_arguments, below, flag_lines, parse_flags, render_flags

SETTINGS = {
    "name": "member1",
    "data-dir": "/var/lib/etcd",
    "listen-peer-urls": "https://127.64.0.1:2380",
    "log-outputs": "stdout,/var/log/etcd.json",
    "etcd-prefix": "/registry",
    "etcd-servers-overrides": "/events#https://127.0.0.9:2379",
    "empty": "",
}


def test_a_file_gives_back_what_was_written() -> None:
    assert parse_flags(flag_lines(render_flags(SETTINGS))) == SETTINGS


def test_comments_and_blank_lines_are_skipped() -> None:
    assert parse_flags(flag_lines(b"# by hand\n\n  --name=m1 \n-v\n")) == {"name": "m1", "v": "true"}


@pytest.mark.parametrize(
    "content", [b"name=m1\n", b"--name=m1\n--name=m2\n", b"--a=\xff\n", b"garbage\n", b"--=x\n"]
)
def test_what_is_no_list_of_flags_is_an_error(content: bytes) -> None:
    with pytest.raises(ValueError):
        parse_flags(flag_lines(content))


@pytest.mark.parametrize(
    "settings", [{"name": "a\nb"}, {"na me": "a"}, {"": "a"}, {"-x": "a"}, {"name": "\x1b[0m"}]
)
def test_what_has_no_form_as_a_line_is_not_written(settings: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="not a flag"):
        render_flags(settings)


def test_paths_get_the_root_and_lose_it() -> None:
    machine = below("/home/u/a,b/hosts/127.64.0.1", SETTINGS)
    assert machine["data-dir"] == "/home/u/a,b/hosts/127.64.0.1/var/lib/etcd"
    assert machine["log-outputs"] == "stdout,/home/u/a,b/hosts/127.64.0.1/var/log/etcd.json"
    assert machine["etcd-prefix"] == "/registry"
    assert machine["etcd-servers-overrides"] == SETTINGS["etcd-servers-overrides"]
    assert above("/home/u/a,b/hosts/127.64.0.1", parse_flags(as_arguments(machine))) == SETTINGS
