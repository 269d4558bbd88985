"""Private keys at rest: plain PEM for the owner's eyes only, or an age v1 file."""

import os
import secrets
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pyrage

from etcdplan.pki.errors import PkiError
from etcdplan.pki.pem import load_private_key
from etcdplan.pki.secret import Secret

_AGE_HEADERS: Final = (b"age-encryption.org/", b"-----BEGIN AGE ENCRYPTED FILE-----")
_MAX_SIZE: Final = 1 << 20


def new_identity() -> tuple[Secret, str]:
    """Make an age X25519 identity (`AGE-SECRET-KEY-1…`) and its recipient (`age1…`, public)."""
    identity = pyrage.x25519.Identity.generate()
    return Secret(str(identity).encode()), str(identity.to_public())


def write_identity(path: Path, identity: Secret) -> None:
    """Write an age identity file of mode 0600, never over an existing file. Raises PkiError."""
    recipient = _identity(identity, "The new identity").to_public()
    _write_new(path, Secret(b"# public key: %s\n%s\n" % (str(recipient).encode(), identity.reveal())))


def write_key(path: Path, key_pem: Secret, *, recipients: Sequence[str] = ()) -> None:
    """Write a private key: for `recipients` (`age1…`) as a binary age v1 file, without any as plain PEM.

    Mode 0600 from the first byte whatever the umask, complete or not there at all, and never over an
    existing file. Raises PkiError; also for a plain key under a name that ends in `.age`.
    """
    load_private_key(key_pem)
    if recipients:
        key_pem = Secret(pyrage.encrypt(key_pem.reveal(), [recipient(text) for text in recipients]))
    elif path.suffix == ".age":
        raise PkiError(
            f"{path} would hold an unencrypted key under the name of an encrypted one.",
            hint="Give an age recipient, or a name without .age.",
        )
    _write_new(path, key_pem)


def read_key(path: Path, *, identities: Sequence[Path] = ()) -> Secret:
    """Read a private key (PEM) that is plain, or encrypted with age and opened by one of the identity files.

    Raises PkiError, with the remedy, for a file that is missing, unreadable, not a private key, plain and
    open to group or others, encrypted and no identity is given, or fits none of them.
    """
    content, mode = _read(path, "private key")
    encrypted = content.reveal().startswith(_AGE_HEADERS)
    if encrypted:
        content = _decrypt(path, content, identities)
    try:
        load_private_key(content)
    except PkiError as error:
        raise PkiError(f"{path}: {error.message}", hint=error.hint) from None
    if not encrypted:
        _refuse_open(path, mode)
    return content


def _decrypt(path: Path, content: Secret, identities: Sequence[Path]) -> Secret:
    if not identities:
        raise PkiError(
            f"{path} is encrypted with age, and no identity is given.",
            hint="Name the file with the AGE-SECRET-KEY that opens it (--age-identity, or ETCDPLAN_AGE_IDENTITY).",
        )
    keys = [key for file in identities for key in read_identities(file)]
    try:
        return Secret(pyrage.decrypt(content.reveal(), keys))
    except pyrage.DecryptError as error:
        if "No matching keys" in str(error):
            raise PkiError(
                f"None of the given age identities opens {path}: {', '.join(map(str, identities))}.",
                hint="Name the identity of one of the recipients that it was encrypted for.",
            ) from None
        raise PkiError(f"{path} is a damaged age file.", hint="Restore it from a copy.") from None


def read_identities(path: Path) -> list[pyrage.x25519.Identity]:
    """Read the identities (`AGE-SECRET-KEY-1…`) of a file that only its owner may read; raise PkiError."""
    content, mode = _read(path, "age identity")
    lines = [Secret(line.strip()) for line in content.reveal().splitlines()]
    found = [
        _identity(line, f"{path}, line {number}")
        for number, line in enumerate(lines, 1)
        if line.reveal() and not line.reveal().startswith(b"#")
    ]
    if not found:
        raise PkiError(f"{path} holds no age identity.", hint="It needs a line AGE-SECRET-KEY-1….")
    _refuse_open(path, mode)
    return found


def _identity(text: Secret, where: str) -> pyrage.x25519.Identity:
    try:
        return pyrage.x25519.Identity.from_str(text.reveal().decode("ascii"))
    except (pyrage.IdentityError, UnicodeDecodeError):
        raise PkiError(
            f"{where}: not an age X25519 identity.",
            hint="Lines of an identity file are AGE-SECRET-KEY-1…, comments (#), or empty.",
        ) from None


def recipient(text: str) -> pyrage.x25519.Recipient:
    """Return the recipient that a text (`age1…`) means; raise PkiError."""
    try:
        return pyrage.x25519.Recipient.from_str(text)
    except pyrage.RecipientError:
        # Somebody may have passed the identity instead, which must not be repeated.
        shown = repr(text) if text.startswith("age1") else "a text that does not start with age1"
        raise PkiError(
            f"Not an age X25519 recipient: {shown}.", hint="It is the public key that age-keygen prints."
        ) from None


def _read(path: Path, kind: str) -> tuple[Secret, int]:
    """Read a regular file and its permission bits, both from the same open file."""
    try:
        # Non-blocking, so that a pipe in the file's place does not hang.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise PkiError(f"The {kind} at {path} is not a regular file.", hint="Check the path.")
            if status.st_size > _MAX_SIZE:
                raise PkiError(f"{path} is too large to hold the {kind}.", hint="Check the path.")
            return Secret(os.read(descriptor, _MAX_SIZE)), stat.S_IMODE(status.st_mode)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        raise PkiError(f"There is no {kind} at {path}.", hint="Check the path.") from None
    except PermissionError:
        raise PkiError(
            f"This user may not read the {kind} at {path}.",
            hint=f"chmod 600 {path}" if _owns(path) else "Run as its owner.",
        ) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise PkiError(f"The {kind} at {str(path)!r} cannot be read: {_reason(error)}.") from None


def _owns(path: Path) -> bool:
    try:
        return path.stat().st_uid == os.geteuid()
    except OSError:  # then a directory above it is closed
        return False


def _refuse_open(path: Path, mode: int) -> None:
    if mode & 0o077:
        raise PkiError(
            f"{path} is open to other users (mode {mode:04o}).",
            hint=f"chmod 600 {path}; if others may have read it, replace it.",
        )


def _write_new(path: Path, content: Secret) -> None:
    """Write all of a new file or nothing: temporary file, fsync, link under the final name, fsync.

    A link, unlike a rename, fails when the name is taken, so two writers cannot overwrite each other.
    """
    temporary = path.parent / f".{path.name}.{secrets.token_hex(8)}"
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                os.fchmod(descriptor, 0o600)
                file.write(content.reveal())
                file.flush()
                os.fsync(descriptor)
            os.link(temporary, path)
        finally:
            temporary.unlink()
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except FileExistsError:
        raise PkiError(
            f"{path} exists and is not overwritten.", hint="Move it away first, or choose another name."
        ) from None
    except (OSError, ValueError) as error:
        raise PkiError(f"{str(path)!r} cannot be written: {_reason(error)}.") from None


def _reason(error: OSError | ValueError) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)
