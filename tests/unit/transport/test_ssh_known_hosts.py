"""known_hosts files are understood as OpenSSH does, and what cannot be understood trusts nothing."""

import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from etcdplan.transport.ssh_known_hosts import HostKey, HostKeyRefused, KnownHosts, lookup_name
from tests.support.sshd import blob, keygen, make_key, public


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    directory = tmp_path_factory.mktemp("keys")
    return [
        make_key(directory / name, kind) for name, kind in (("a", "ed25519"), ("b", "ed25519"), ("c", "rsa"))
    ]


def key_of(path: Path) -> HostKey:
    return HostKey(public(path).split()[0], blob(path))


def known(tmp_path: Path, *lines: str) -> KnownHosts:
    file = tmp_path / "known_hosts"
    file.write_text("\n".join(lines) + "\n")
    return KnownHosts([file])


@pytest.mark.parametrize(
    ("hosts", "name"),
    [
        ("h1", "h1"),
        ("H1", "h1"),
        ("other,h1", "h1"),
        ("h?", "h1"),
        ("*", "h1"),
        ("*.example.com,!bad.example.com", "good.example.com"),
        ("[h1]:2222", "[h1]:2222"),
        ("[h*]:2222", "[h1]:2222"),
        ("10.0.0.*", "10.0.0.1"),
        ("[::1]:2222", "[::1]:2222"),
        ("fe80::1", "fe80::1"),
    ],
)
def test_a_recorded_key_is_trusted(tmp_path: Path, keys: list[Path], hosts: str, name: str) -> None:
    known(tmp_path, "# a comment", "", f"{hosts} {public(keys[0])} a comment").check(name, key_of(keys[0]))


@pytest.mark.parametrize(
    ("hosts", "name"),
    [
        ("h1", "h2"),
        ("h1", "[h1]:2222"),
        ("[h1]:2222", "h1"),
        ("*.example.com,!bad.example.com", "bad.example.com"),
        ("!bad.example.com,*.example.com", "bad.example.com"),
        ("h[1]", "h1"),
        ("h.", "hx"),
        ("!h2", "h1"),
        ("h1.example.com", "h1"),
        ("|1|notbase64|x", "h1"),
    ],
)
def test_a_key_is_trusted_for_no_other_name(tmp_path: Path, keys: list[Path], hosts: str, name: str) -> None:
    with pytest.raises(HostKeyRefused, match="unknown") as refused:
        known(tmp_path, f"{hosts} {public(keys[0])}").check(name, key_of(keys[0]))
    assert refused.value.exit_code == 8
    assert key_of(keys[0]).fingerprint in refused.value.message
    assert str(tmp_path / "known_hosts") in refused.value.message


def test_hashed_names(tmp_path: Path, keys: list[Path]) -> None:
    file = tmp_path / "known_hosts"
    file.write_text(f"h1 {public(keys[0])}\n[h1]:2222 {public(keys[1])}\n")
    keygen("-H", "-f", str(file))
    assert "h1" not in file.read_text()
    hashed = KnownHosts([file])
    hashed.check("h1", key_of(keys[0]))
    hashed.check("[h1]:2222", key_of(keys[1]))
    with pytest.raises(HostKeyRefused, match="changed"):
        hashed.check("h1", key_of(keys[1]))


def test_a_changed_key_names_the_line_that_disagrees(tmp_path: Path, keys: list[Path]) -> None:
    lines = known(tmp_path, "", f"h1 {public(keys[0])}")
    with pytest.raises(HostKeyRefused, match="has changed") as refused:
        lines.check("h1", key_of(keys[1]))
    message = refused.value.message
    assert f"{tmp_path}/known_hosts:2" in message
    assert key_of(keys[0]).fingerprint in message
    assert key_of(keys[1]).fingerprint in message
    printed = keygen("-lf", f"{keys[1]}.pub")
    assert key_of(keys[1]).fingerprint in printed


def test_several_keys_of_one_type_and_of_several(tmp_path: Path, keys: list[Path]) -> None:
    lines = known(tmp_path, *(f"h1 {public(key)}" for key in keys))
    for key in keys:
        lines.check("h1", key_of(key))
    assert lines.key_types("h1") == ("ssh-ed25519", "ssh-rsa")


def test_a_key_of_another_type_than_recorded_is_unknown(tmp_path: Path, keys: list[Path]) -> None:
    with pytest.raises(HostKeyRefused, match=r"unknown.*only ssh-ed25519"):
        known(tmp_path, f"h1 {public(keys[0])}").check("h1", key_of(keys[2]))


@pytest.mark.parametrize("revoked_first", [True, False])
def test_a_revoked_key_is_refused_whatever_else_matches(
    tmp_path: Path, keys: list[Path], revoked_first: bool
) -> None:
    lines = [f"@revoked * {public(keys[0])}", f"h1 {public(keys[0])}"]
    with pytest.raises(HostKeyRefused, match=r"revoked.*known_hosts:"):
        known(tmp_path, *(lines if revoked_first else reversed(lines))).check("h1", key_of(keys[0]))


def test_a_revocation_in_another_file_counts(tmp_path: Path, keys: list[Path]) -> None:
    (tmp_path / "user").write_text(f"h1 {public(keys[0])}\n")
    (tmp_path / "global").write_text(f"@revoked h1 {public(keys[0])}\n")
    with pytest.raises(HostKeyRefused, match="revoked"):
        KnownHosts([tmp_path / "user", tmp_path / "global"]).check("h1", key_of(keys[0]))


@pytest.mark.parametrize(
    "line", ["@revoked h1 ssh-ed25519 not-base64", "@revoked h1", "@revoked h1 ssh-rsa {ed}"]
)
def test_a_revocation_that_cannot_be_read_trusts_nothing(tmp_path: Path, keys: list[Path], line: str) -> None:
    line = line.format(ed=public(keys[0]).split()[1])
    with pytest.raises(HostKeyRefused, match=r"known_hosts:1 revokes .* cannot be read"):
        known(tmp_path, line, f"h1 {public(keys[0])}")


@pytest.mark.parametrize(
    "line",
    [
        "h1",
        "h1 ssh-ed25519",
        "h1 ssh-ed25519 ====",
        "@other h1 {key}",
        "h1 ssh-rsa {blob}",
        "@cert-authority h1 {key}",
    ],
)
def test_other_lines_that_are_no_plain_key_grant_nothing(tmp_path: Path, keys: list[Path], line: str) -> None:
    line = line.format(key=public(keys[0]), blob=public(keys[0]).split()[1])
    with pytest.raises(HostKeyRefused, match="unknown"):
        known(tmp_path, line).check("h1", key_of(keys[0]))


def test_a_file_that_is_named_must_exist(tmp_path: Path) -> None:
    KnownHosts([tmp_path / "none"])
    with pytest.raises(HostKeyRefused, match="does not exist"):
        KnownHosts([tmp_path / "none"], needed=True)
    with pytest.raises(HostKeyRefused, match="cannot be read"):
        KnownHosts([tmp_path])


def test_names_of_ports() -> None:
    assert lookup_name("H1", 22) == "h1"
    assert lookup_name("H1", 2222) == "[h1]:2222"


_PART = st.text(alphabet="ab.*?", min_size=1, max_size=4)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    patterns=st.lists(st.tuples(st.sampled_from(["", "!"]), _PART), min_size=1, max_size=3),
    name=st.text("ab.", min_size=1, max_size=4),
)
def test_patterns_mean_what_they_mean_to_openssh(
    tmp_path: Path, keys: list[Path], patterns: list[tuple[str, str]], name: str
) -> None:
    file = tmp_path / "known_hosts"
    file.write_text(f"{','.join(map(''.join, patterns))} {public(keys[0])}\n")
    found = subprocess.run(["ssh-keygen", "-F", name, "-f", str(file)], capture_output=True, check=False)
    assert bool(KnownHosts([file]).key_types(name)) == (found.returncode == 0)
