"""Quoting against real shells, and files with a password."""

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etcdplan.errors import EtcdplanError
from etcdplan.transport.ssh_command import quoted, read_password

SHELLS = [shell for shell in ("sh", "dash", "bash", "zsh", "ksh", "busybox") if shutil.which(shell)]
_WORDS = st.lists(
    st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=20)
    | st.text(alphabet="'\"\\$`!*?[]{}()<>|&;~=#% \t\n\r-+a", max_size=20),
    max_size=4,
)


def _split(shell: str, words: list[str]) -> list[bytes]:
    command = [shell, *(["sh"] if shell == "busybox" else [])]
    line = quoted([*command, "-c", 'printf "%s\\0" "$@"', "x", *words])
    done = subprocess.run([*command, "-c", line], capture_output=True, check=True, timeout=30)
    return done.stdout.split(b"\0")[:-1]


@pytest.mark.parametrize("shell", SHELLS)
@settings(max_examples=150, deadline=None)
@given(words=_WORDS)
def test_a_shell_splits_into_the_same_words(shell: str, words: list[str]) -> None:
    # printf without arguments prints its format once.
    assert _split(shell, words) == ([word.encode() for word in words] or [b""])


def test_bytes_that_are_no_utf8_are_kept() -> None:
    assert _split("sh", ["a\udcffb"]) == [b"a\xffb"]


def test_a_nul_is_refused() -> None:
    with pytest.raises(ValueError, match="NUL"):
        quoted(["a\0b"])


def test_a_password_is_read_from_a_file_that_is_private(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("pass word\nmore\n")
    file.chmod(0o600)
    assert read_password(file).reveal() == b"pass word"
    for mode in (0o640, 0o604, 0o660, 0o620):
        file.chmod(mode)
        with pytest.raises(EtcdplanError, match="others may read it") as refused:
            read_password(file)
        assert "pass word" not in str(refused.value)
    with pytest.raises(EtcdplanError, match="No such file"):
        read_password(tmp_path / "none")
