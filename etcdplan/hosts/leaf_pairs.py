"""Certificates and keys on a host: each leaf is a link to a directory with one pair, so that one rename swaps both."""

import contextlib
import re
import secrets
import shutil
from pathlib import Path

from etcdplan.hosts.files import read_if_there, sync_directory, write_atomically
from etcdplan.hosts.ports import HostRefused, LeafFile
from etcdplan.pki.errors import PkiError
from etcdplan.pki.leaf import key_matches, new_key_and_csr
from etcdplan.pki.secret import Secret

_NAME = re.compile(r"[a-z0-9][a-z0-9.-]*")


def leaf_names(pki: Path) -> list[str]:
    """Return the names of all leafs that are there; raise `OSError`."""
    try:
        return sorted(entry.name for entry in pki.iterdir() if _NAME.fullmatch(entry.name) and entry.is_dir())
    except FileNotFoundError:
        return []


def read_leaf(pki: Path, leaf: str) -> LeafFile | None:
    """Return a leaf's certificate and whether its key fits, None without a certificate; raise `OSError`."""
    # Resolved once, so that certificate and key are of one pair though another one is swapped in just now.
    directory = (pki / leaf).resolve()
    certificate = read_if_there(directory / "tls.crt")
    if certificate is None:
        return None
    return LeafFile(certificate, _fits(directory / "tls.key", certificate))


def make_key(pki: Path, leaf: str) -> bytes:
    """Make a key beside the pair in use, and return a signing request (PEM); raise `OSError` or `HostRefused`.

    A key that waits there already is replaced.
    """
    key, request = new_key_and_csr()
    write_atomically(_waiting(pki, leaf) / "tls.key", key.reveal())
    return request


def install(pki: Path, leaf: str, certificate: bytes) -> None:
    """Put the waiting key and its certificate in the place of the pair in use; raise `OSError` or `HostRefused`.

    The newest of the former pairs is kept, older ones are removed.
    """
    waiting = _waiting(pki, leaf)
    if not _fits(waiting / "tls.key", certificate):
        raise HostRefused(f"The certificate for {leaf} does not belong to the key that waits for it.")
    write_atomically(waiting / "tls.crt", certificate)
    numbers = sorted(_pairs(pki, leaf))
    pair = pki / f".{leaf}.{numbers[-1] + 1 if numbers else 1}"
    waiting.rename(pair)
    former = (pki / leaf).resolve().name
    link = pki / f".{leaf}.link-{secrets.token_hex(8)}"
    link.symlink_to(pair.name)
    try:
        link.rename(pki / leaf)
    except OSError:
        link.unlink()
        raise
    sync_directory(pki)
    for number in numbers:
        if (old := pki / f".{leaf}.{number}").name != former:
            # The new pair is in use: what cannot be removed does no harm.
            with contextlib.suppress(OSError):
                shutil.rmtree(old)


def _waiting(pki: Path, leaf: str) -> Path:
    if not _NAME.fullmatch(leaf):
        raise HostRefused(f"{leaf!r} cannot be the name of a certificate.")
    return pki / f".{leaf}.new"


def _pairs(pki: Path, leaf: str) -> list[int]:
    wanted = re.compile(rf"\.{re.escape(leaf)}\.([0-9]+)")
    return [int(match[1]) for entry in pki.iterdir() if (match := wanted.fullmatch(entry.name))]


def _fits(key: Path, certificate: bytes) -> bool:
    content = read_if_there(key)
    try:
        return content is not None and key_matches(Secret(content), certificate)
    except PkiError:
        return False
