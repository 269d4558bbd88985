import errno
import os
import signal
import stat
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyrage
import pytest

from etcdplan.pki.errors import PkiError
from etcdplan.pki.keyfile import new_identity, read_key, write_identity, write_key
from etcdplan.pki.leaf import new_key_and_csr
from etcdplan.pki.secret import Secret

from .conftest import OpenSsl


@pytest.fixture(scope="module")
def key() -> Secret:
    return new_key_and_csr()[0]


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def private(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    path.chmod(0o600)
    return path


@pytest.fixture
def identity(tmp_path: Path) -> tuple[Path, str]:
    """An identity file and its recipient."""
    secret, recipient = new_identity()
    path = tmp_path / "identity.txt"
    write_identity(path, secret)
    return path, recipient


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_plain_and_encrypted_files_come_back(
    tmp_path: Path, key: Secret, identity: tuple[Path, str], mask: int
) -> None:
    identity_file, recipient = identity
    plain, encrypted = tmp_path / "ca.key", tmp_path / "ca.key.age"
    with umask(mask):
        write_key(plain, key)
        write_key(encrypted, key, recipients=[recipient])
    assert mode(plain) == mode(encrypted) == mode(identity_file) == 0o600
    assert plain.read_bytes() == key.reveal() == read_key(plain).reveal()
    assert encrypted.read_bytes().startswith(b"age-encryption.org/v1\n")
    assert read_key(encrypted, identities=[identity_file]).reveal() == key.reveal()
    assert names(tmp_path) == ["ca.key", "ca.key.age", "identity.txt"]


def test_openssl_reads_the_plain_file(tmp_path: Path, key: Secret, openssl: OpenSsl) -> None:
    write_key(tmp_path / "k", key)
    openssl("pkey", "-in", tmp_path / "k", "-check", "-noout")


def test_any_recipient_opens_it_with_any_age(tmp_path: Path, key: Secret) -> None:
    people = [pyrage.x25519.Identity.generate() for _ in range(2)]
    write_key(tmp_path / "k.age", key, recipients=[str(person.to_public()) for person in people])
    for person in people:
        assert pyrage.decrypt((tmp_path / "k.age").read_bytes(), [person]) == key.reveal()


@pytest.mark.parametrize("armored", [False, True])
def test_a_file_that_another_age_wrote_opens(
    tmp_path: Path, key: Secret, identity: tuple[Path, str], armored: bool
) -> None:
    identity_file, recipient = identity
    public = pyrage.x25519.Recipient.from_str(recipient)
    (tmp_path / "k").write_bytes(pyrage.encrypt(key.reveal(), [public], armored=armored))
    (tmp_path / "k").chmod(0o644)  # an encrypted file may lie open, in a repository for one
    stranger = tmp_path / "stranger.txt"
    write_identity(stranger, new_identity()[0])
    assert read_key(tmp_path / "k", identities=[stranger, identity_file]).reveal() == key.reveal()


def test_identity_files_as_people_write_them(tmp_path: Path, key: Secret) -> None:
    first, _ = new_identity()
    second, recipient = new_identity()
    write_key(tmp_path / "k.age", key, recipients=[recipient])
    text = b"# created: today\r\n\n  # mine\n" + first.reveal() + b"\n \n" + second.reveal() + b"  "
    path = private(tmp_path / "id", text)
    assert read_key(tmp_path / "k.age", identities=[path]).reveal() == key.reveal()


@pytest.mark.parametrize("argv", [("genrsa", "-traditional"), ("ecparam", "-name", "secp384r1", "-genkey")])
def test_key_forms_of_other_tools_are_read(tmp_path: Path, openssl: OpenSsl, argv: tuple[str, ...]) -> None:
    pem = openssl(*argv).encode()
    assert read_key(private(tmp_path / "k", pem)).reveal() == pem


@pytest.mark.parametrize(
    "occupy", [lambda p: p.write_text("mine"), Path.mkdir, lambda p: p.symlink_to("gone")]
)
def test_an_existing_name_is_never_overwritten(
    tmp_path: Path, key: Secret, occupy: Callable[[Path], object]
) -> None:
    path = tmp_path / "k"
    occupy(path)
    before = os.lstat(path)
    with pytest.raises(PkiError, match="exists and is not overwritten"):
        write_key(path, key)
    with pytest.raises(PkiError, match="exists and is not overwritten"):
        write_identity(path, new_identity()[0])
    assert os.lstat(path) == before
    assert names(tmp_path) == ["k"]


def test_a_failed_write_leaves_nothing(tmp_path: Path, key: Secret, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(PkiError, match="cannot be written: No space left on device"):
        write_key(tmp_path / "k", key)
    assert names(tmp_path) == []


@pytest.mark.parametrize("path", ["no/such/k", "file/k", "k\0", "/"])
def test_impossible_paths_are_one_plain_error(tmp_path: Path, key: Secret, path: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PkiError, match=r"cannot be written|exists"):
        write_key(tmp_path / path, key)
    with pytest.raises(PkiError, match=r"There is no|cannot be read|not a regular file"):
        read_key(tmp_path / path)


@pytest.mark.parametrize("call", ["fchmod", "fsync", "link"])
def test_a_kill_while_writing_leaves_no_key_under_the_name(tmp_path: Path, call: str) -> None:
    """Also: whatever is left has been 0600 since it was created, though the umask is 0."""
    program = (
        "import os, signal, sys; from pathlib import Path\n"
        "from etcdplan.pki.keyfile import write_key; from etcdplan.pki.leaf import new_key_and_csr\n"
        f"os.{call} = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "os.umask(0); write_key(Path(sys.argv[1]) / 'k', new_key_and_csr()[0])\n"
    )
    done = subprocess.run([sys.executable, "-c", program, tmp_path], timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "k").exists()
    assert [mode(path) for path in tmp_path.iterdir()] == [0o600]


def test_a_plain_key_gets_no_age_name(tmp_path: Path, key: Secret) -> None:
    with pytest.raises(PkiError, match="unencrypted key under the name of an encrypted one"):
        write_key(tmp_path / "ca.key.age", key)
    assert names(tmp_path) == []


def test_only_keys_and_identities_are_written(tmp_path: Path) -> None:
    with pytest.raises(PkiError, match="Not a PEM private key"):
        write_key(tmp_path / "k", Secret(b"junk"))
    with pytest.raises(PkiError, match="not an age X25519 identity"):
        write_identity(tmp_path / "k", Secret(b"junk"))
    assert names(tmp_path) == []


@pytest.mark.parametrize("recipient", ["", "age1", "age1foo", "bob", "ssh-ed25519 AAAA"])
def test_bad_recipients_are_refused(tmp_path: Path, key: Secret, recipient: str) -> None:
    with pytest.raises(PkiError, match="Not an age X25519 recipient"):
        write_key(tmp_path / "k.age", key, recipients=[recipient])
    assert names(tmp_path) == []


@pytest.mark.parametrize("bits", [0o640, 0o604, 0o660, 0o644, 0o610])
def test_a_plain_key_open_to_others_is_refused(tmp_path: Path, key: Secret, bits: int) -> None:
    path = private(tmp_path / "k", key.reveal())
    path.chmod(bits)
    with pytest.raises(PkiError, match=f"open to other users .mode 0{bits:o}") as caught:
        read_key(path)
    assert caught.value.hint.startswith(f"chmod 600 {path}")


def test_an_identity_open_to_others_is_refused(
    tmp_path: Path, key: Secret, identity: tuple[Path, str]
) -> None:
    path, recipient = identity
    write_key(tmp_path / "k.age", key, recipients=[recipient])
    path.chmod(0o644)
    with pytest.raises(PkiError, match=f"{path} is open to other users") as caught:
        read_key(tmp_path / "k.age", identities=[path])
    assert caught.value.hint.startswith(f"chmod 600 {path}")


@pytest.fixture
def ordinary_user() -> Iterator[None]:
    """Root reads everything: step down for the test."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_an_unreadable_key(tmp_path: Path, key: Secret, request: pytest.FixtureRequest) -> None:
    path = private(tmp_path / "k", key.reveal())
    path.chmod(0)
    request.getfixturevalue("ordinary_user")
    with pytest.raises(PkiError, match=f"may not read the private key at {path}"):
        read_key(path)
    with tempfile.TemporaryDirectory() as place:
        own = Path(place, "own")
        own.touch(0)
        with pytest.raises(PkiError, match=f"may not read the private key at {own}") as caught:
            read_key(own)
    assert caught.value.hint == f"chmod 600 {own}"


def test_missing_files(tmp_path: Path, key: Secret) -> None:
    with pytest.raises(PkiError, match=f"There is no private key at {tmp_path}/k.age"):
        read_key(tmp_path / "k.age")
    write_key(tmp_path / "k.age", key, recipients=[new_identity()[1]])
    with pytest.raises(PkiError, match=f"There is no age identity at {tmp_path}/id"):
        read_key(tmp_path / "k.age", identities=[tmp_path / "id"])


def test_encrypted_without_a_fitting_identity(
    tmp_path: Path, key: Secret, identity: tuple[Path, str]
) -> None:
    path = tmp_path / "k.age"
    write_key(path, key, recipients=[new_identity()[1]])
    with pytest.raises(PkiError, match="encrypted with age, and no identity is given"):
        read_key(path)
    with pytest.raises(PkiError, match=f"None of the given age identities opens {path}: {identity[0]}"):
        read_key(path, identities=[identity[0]])


def test_a_damaged_age_file_is_never_accepted(
    tmp_path: Path, key: Secret, identity: tuple[Path, str]
) -> None:
    """Every byte changed and every truncation."""
    identity_file, recipient = identity
    path = tmp_path / "k.age"
    write_key(path, key, recipients=[recipient])
    good = path.read_bytes()
    assert read_key(path, identities=[identity_file]).reveal() == key.reveal()
    for position in range(len(good)):
        for bad in (good[:position], good[:position] + bytes([good[position] ^ 1]) + good[position + 1 :]):
            path.write_bytes(bad)
            with pytest.raises(PkiError):
                read_key(path, identities=[identity_file])
    path.write_bytes(good[:-1])
    with pytest.raises(PkiError, match=f"{path} is a damaged age file"):
        read_key(path, identities=[identity_file])


@pytest.mark.parametrize("content", [b"", b"junk", b"\0" * 100, b"-----BEGIN PRIVATE KEY-----\nAAAA\n"])
@pytest.mark.parametrize("encrypted", [False, True])
def test_what_is_no_private_key_is_refused(
    tmp_path: Path, identity: tuple[Path, str], content: bytes, encrypted: bool
) -> None:
    if encrypted:
        content = pyrage.encrypt(content, [pyrage.x25519.Recipient.from_str(identity[1])])
    path = tmp_path / "k"
    path.write_bytes(content)
    path.chmod(0o644)  # a file that is no key is told so first, such as a certificate named by mistake
    with pytest.raises(PkiError, match=f"{path}: Not a PEM private key") as caught:
        read_key(path, identities=[identity[0]])
    assert "Restore it" in caught.value.hint


def test_other_unusable_keys(tmp_path: Path, openssl: OpenSsl) -> None:
    locked = openssl("genrsa", "-aes128", "-passout", "pass:secret").encode()
    with pytest.raises(PkiError, match="locked with a passphrase"):
        read_key(private(tmp_path / "locked", locked))
    unsupported = openssl("genpkey", "-algorithm", "ed448").encode()
    with pytest.raises(PkiError, match="unsupported kind"):
        read_key(private(tmp_path / "ed448", unsupported))
    with pytest.raises(PkiError, match="too large"):
        read_key(private(tmp_path / "large", b"x" * (2 << 20)))
    with pytest.raises(PkiError, match="not a regular file"):
        read_key(tmp_path)
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(PkiError, match="not a regular file"):
        read_key(tmp_path / "pipe")


@pytest.mark.parametrize("text", [b"", b"# only a comment\n"])
def test_an_identity_file_without_identity(tmp_path: Path, key: Secret, text: bytes) -> None:
    write_key(tmp_path / "k.age", key, recipients=[new_identity()[1]])
    with pytest.raises(PkiError, match=f"{tmp_path}/id holds no age identity"):
        read_key(tmp_path / "k.age", identities=[private(tmp_path / "id", text)])


def _secrets_of(tmp_path: Path) -> Iterator[tuple[bytes, Callable[[], object]]]:
    """Calls that fail while they hold a secret: what must not be shown, and the call."""
    key, _ = new_key_and_csr()
    body = b"".join(key.reveal().splitlines()[1:-1])
    mine, recipient = new_identity()
    token = mine.reveal()
    bits = token.removeprefix(b"AGE-SECRET-KEY-1")
    write_key(tmp_path / "for-me.age", key, recipients=[recipient])
    write_key(tmp_path / "for-others.age", key, recipients=[new_identity()[1]])
    write_identity(tmp_path / "mine", mine)
    damaged = private(tmp_path / "damaged.key", key.reveal().replace(b"\n", b"\n!", 1))
    halved = private(tmp_path / "halved.key", key.reveal()[:150])
    opened = private(tmp_path / "open.key", key.reveal())
    opened.chmod(0o644)
    bad_line = private(tmp_path / "bad-line", token[:-4] + b"QQQQ\n")
    junk = private(tmp_path / "junk", b"AGE-PLUGIN-" + token)
    age, others = tmp_path / "for-me.age", tmp_path / "for-others.age"
    yield body, lambda: read_key(damaged)
    yield body[:60], lambda: read_key(halved)
    yield body, lambda: read_key(opened)
    yield body, lambda: write_key(tmp_path / "no" / "k", key)
    yield body, lambda: write_key(tmp_path / "k.age", key)
    yield bits, lambda: write_identity(tmp_path / "mine", mine)
    yield bits, lambda: read_key(others, identities=[tmp_path / "mine"])
    yield bits[:-4], lambda: read_key(age, identities=[bad_line])
    yield bits, lambda: read_key(age, identities=[junk])


def test_no_secret_in_errors_nor_in_the_locals_of_tracebacks(tmp_path: Path) -> None:
    for secret, call in _secrets_of(tmp_path):
        with pytest.raises(PkiError) as caught:
            call()
        error = caught.value
        stack = traceback.TracebackException.from_exception(error, capture_locals=True).stack
        library = [frame for frame in stack if "/etcdplan/pki/" in frame.filename]
        assert library
        shown = [repr(error), error.message, error.hint, *(str(frame.locals) for frame in library)]
        assert_absent(secret, "".join(shown))


def test_an_identity_passed_as_recipient_is_not_repeated(tmp_path: Path, key: Secret) -> None:
    identity = new_identity()[0].reveal()
    with pytest.raises(PkiError) as caught:
        write_key(tmp_path / "k.age", key, recipients=[identity.decode()])
    assert_absent(identity, repr(caught.value) + caught.value.hint)


def assert_absent(secret: bytes, text: str) -> None:
    text = text.replace("\\n", "").replace("\n", "")
    pieces = [secret[start : start + 16].decode() for start in range(len(secret) - 16)]
    assert pieces
    assert not [piece for piece in pieces if piece in text]
